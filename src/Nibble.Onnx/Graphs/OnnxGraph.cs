using System.Globalization;

namespace Nibble.Onnx.Graphs;

/// <summary>A graph that can be edited. Values are identified by their names.</summary>
/// <remarks>
/// Graphs inside nodes are left as they are. What they read from outside counts as read by the node that holds them. Nodes without a name get one, so that
/// messages and options can name them.
/// </remarks>
internal sealed class OnnxGraph
{
    private readonly Dictionary<string, TensorProto> constants = new(StringComparer.Ordinal);
    private readonly Dictionary<string, TensorType> types = new(StringComparer.Ordinal);
    private readonly HashSet<string> names = new(StringComparer.Ordinal);
    private Dictionary<string, NodeProto>? producers;
    private Dictionary<string, List<NodeProto>>? consumers;

    /// <summary>Wraps a model.</summary>
    /// <exception cref="NibbleException">It has no graph, or two constants or two values have the same name.</exception>
    public OnnxGraph(ModelProto model)
    {
        ArgumentNullException.ThrowIfNull(model);
        Model = model;
        Proto = model.Graph ?? throw new NibbleException("The model has no graph.");
        foreach (var tensor in Proto.Initializer)
        {
            names.Add(tensor.Name);
            types.TryAdd(tensor.Name, new TensorType(tensor.Element(), [.. tensor.Dims.Select(size => (long?)size)]));
            if (!constants.TryAdd(tensor.Name, tensor))
            {
                throw new NibbleException($"The model has two tensors with the name '{tensor.Name}'.");
            }
        }

        foreach (var value in Proto.Input.Concat(Proto.Output).Concat(Proto.ValueInfo))
        {
            names.Add(value.Name);
            if (TensorType.Of(value) is { } type)
            {
                types.TryAdd(value.Name, type);
            }
        }

        foreach (var node in Proto.Node)
        {
            names.UnionWith(node.Output);
            names.Add(node.Name);
            names.UnionWith(Subgraphs.Of(node).SelectMany(Subgraphs.Names));
        }

        foreach (var node in Proto.Node.Where(node => node.Name.Length == 0))
        {
            node.Name = Unique(node.OpType);
        }
    }

    /// <summary>The model that holds the graph.</summary>
    public ModelProto Model { get; }

    /// <summary>The graph as it is stored.</summary>
    public GraphProto Proto { get; }

    /// <summary>The nodes, in the order in which they are computed.</summary>
    public IReadOnlyList<NodeProto> Nodes => Proto.Node;

    /// <summary>The version of the standard operators.</summary>
    public long OperatorSet => Model.OpsetImport.FirstOrDefault(set => set.Domain is "" or "ai.onnx")?.Version ?? 1;

    /// <summary>The inputs that a caller gives: those that are not constants.</summary>
    public IEnumerable<ValueInfoProto> Inputs => Proto.Input.Where(value => !constants.ContainsKey(value.Name));

    /// <summary>The node that computes a value. Null for inputs and constants.</summary>
    public NodeProto? Producer(string value) => (producers ??= IndexProducers()).GetValueOrDefault(value);

    /// <summary>The nodes that read a value, each once, in order.</summary>
    public IReadOnlyList<NodeProto> Consumers(string value) => (consumers ??= IndexConsumers()).GetValueOrDefault(value) ?? [];

    /// <summary>Whether a value is an output of the graph.</summary>
    public bool IsOutput(string value) => Proto.Output.Any(output => output.Name == value);

    /// <summary>The constant with a given name. Null if there is none.</summary>
    public TensorProto? Constant(string value) => constants.GetValueOrDefault(value);

    /// <summary>The type of a value. Null if unknown, or if it is not a tensor.</summary>
    public TensorType? TypeOf(string value) => types.GetValueOrDefault(value);

    /// <summary>A name that the graph does not use yet. It is used from now on.</summary>
    public string Unique(string name)
    {
        var unique = name;
        for (var i = 1; !names.Add(unique); i++)
        {
            unique = string.Create(CultureInfo.InvariantCulture, $"{name}_{i}");
        }

        return unique;
    }

    /// <summary>Adds a constant.</summary>
    /// <param name="tensor">The constant, whose name gets a number if it is used already.</param>
    /// <returns>Its name.</returns>
    public string AddConstant(TensorProto tensor)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        tensor.Name = Unique(tensor.Name);
        constants.Add(tensor.Name, tensor);
        types[tensor.Name] = new TensorType(tensor.Element(), [.. tensor.Dims.Select(size => (long?)size)]);
        Proto.Initializer.Add(tensor);
        return tensor.Name;
    }

    /// <summary>Adds a node at the end. <see cref="Sort"/> moves it before the nodes that read it.</summary>
    /// <param name="domain">The domain of its operator; empty for standard ones.</param>
    /// <param name="type">Its operator.</param>
    /// <param name="output">Its name and the name of its output; gets a number if it is used already.</param>
    /// <param name="inputs">The values that it reads.</param>
    /// <param name="attributes">Its attributes.</param>
    /// <returns>The name of its output.</returns>
    public string AddNode(string domain, string type, string output, IEnumerable<string> inputs, params IEnumerable<AttributeProto> attributes)
    {
        var name = Unique(output);
        var node = new NodeProto { OpType = type, Name = name, Input = { inputs }, Output = { name }, Attribute = { attributes } };
        if (domain.Length > 0)
        {
            node.Domain = domain;
        }

        Proto.Node.Add(node);
        Changed();
        return name;
    }

    /// <summary>Adds a node at the end that computes a value which nothing computes yet.</summary>
    /// <inheritdoc cref="AddNode"/>
    /// <param name="value">The value.</param>
    /// <param name="type">Its standard operator.</param>
    /// <param name="inputs">The values that it reads.</param>
    /// <param name="attributes">Its attributes.</param>
    public void AddNodeFor(string value, string type, IEnumerable<string> inputs, params IEnumerable<AttributeProto> attributes)
    {
        Proto.Node.Add(new NodeProto { OpType = type, Name = Unique($"{value}/{type}"), Input = { inputs }, Output = { value }, Attribute = { attributes } });
        Changed();
    }

    /// <summary>Gives a constant another name, under which its consumers read it from now on.</summary>
    /// <returns>The new name.</returns>
    public string RenameConstant(string value, string name)
    {
        var tensor = constants[value];
        tensor.Name = Unique(name);
        constants.Remove(value);
        constants.Add(tensor.Name, tensor);
        types[tensor.Name] = types[value];
        Redirect(value, tensor.Name, Consumers(value));
        return tensor.Name;
    }

    /// <summary>Says the type of a value.</summary>
    public void SetType(string value, TensorType type)
    {
        ArgumentNullException.ThrowIfNull(type);
        types[value] = type;
        if (Proto.ValueInfo.FirstOrDefault(info => info.Name == value) is { } present)
        {
            Proto.ValueInfo.Remove(present);
        }

        Proto.ValueInfo.Add(type.Describe(value));
    }

    /// <summary>Requires that each value is given once, and that all values that are read are given.</summary>
    /// <exception cref="NibbleException">A value is given twice, or not at all.</exception>
    public void RequireValues()
    {
        var given = new HashSet<string>(constants.Keys, StringComparer.Ordinal);
        foreach (var input in Proto.Input)
        {
            if (!given.Add(input.Name))
            {
                throw new NibbleException($"The model has two inputs with the name '{input.Name}'.");
            }
        }

        foreach (var node in Nodes)
        {
            foreach (var value in node.Output.Where(value => value.Length > 0 && !given.Add(value)))
            {
                throw new NibbleException(
                    $"The model's node '{node.Name}' computes the value '{value}', which another node computes or which is an input or constant.");
            }
        }

        foreach (var node in Nodes)
        {
            if (Subgraphs.Reads(node).FirstOrDefault(value => !given.Contains(value)) is { } missing)
            {
                throw new NibbleException(
                    $"The model's node '{node.Name}' reads the value '{missing}', which no node computes and which is no input or constant.");
            }
        }

        if (Proto.Output.FirstOrDefault(output => !given.Contains(output.Name)) is { } unknown)
        {
            throw new NibbleException($"The model's output '{unknown.Name}' is computed by no node and is no input or constant.");
        }
    }

    /// <summary>Computes the outputs of a node by another operator. The node keeps its name, its outputs and its place.</summary>
    /// <param name="node">The node.</param>
    /// <param name="domain">The domain of its new operator; empty for standard ones.</param>
    /// <param name="type">Its new operator.</param>
    /// <param name="inputs">The values that it reads from now on. An empty name omits an optional input.</param>
    /// <param name="attributes">Its new attributes.</param>
    public void Replace(NodeProto node, string domain, string type, IEnumerable<string> inputs, params IEnumerable<AttributeProto> attributes)
    {
        ArgumentNullException.ThrowIfNull(node);
        List<string> read = [.. inputs];
        node.OpType = type;
        node.Domain = domain;
        node.Input.Clear();
        node.Input.AddRange(read);
        node.Attribute.Clear();
        node.Attribute.AddRange(attributes);
        Changed();
    }

    /// <summary>Removes a node. What read its outputs must have been redirected.</summary>
    public void Remove(NodeProto node)
    {
        Proto.Node.Remove(node);
        Changed();
    }

    /// <summary>Makes nodes read another value instead of a given one.</summary>
    /// <param name="value">The value that they read.</param>
    /// <param name="by">The value that they read from now on.</param>
    /// <param name="nodes">The nodes.</param>
    public void Redirect(string value, string by, IEnumerable<NodeProto> nodes)
    {
        foreach (var node in nodes.ToList())
        {
            Subgraphs.Rename(node, value, by);
        }

        Changed();
    }

    /// <summary>Makes the node that computes a value compute it under another name.</summary>
    /// <returns>The new name. Consumers still read the old one, which something else must compute now.</returns>
    public string RenameOutput(string value, string name)
    {
        var node = Producer(value) ?? throw new ArgumentException($"No node computes '{value}'.", nameof(value));
        var unique = Unique(name);
        for (var i = 0; i < node.Output.Count; i++)
        {
            node.Output[i] = node.Output[i] == value ? unique : node.Output[i];
        }

        if (types.TryGetValue(value, out var type))
        {
            types[unique] = type;
        }

        Changed();
        return unique;
    }

    /// <summary>Makes one input of a node read another value.</summary>
    public void SetInput(NodeProto node, int position, string value)
    {
        ArgumentNullException.ThrowIfNull(node);
        node.Input[position] = value;
        Changed();
    }

    /// <summary>Inserts a chain of nodes after a value. All that read the value read what the chain computes from it, and an output keeps its name.</summary>
    /// <param name="value">The value: an input, or what a node computes.</param>
    /// <param name="chain">Adds the chain's nodes to the graph, given the value that it reads, and returns the value that it computes.</param>
    public void InsertAfter(string value, Func<string, string> chain)
    {
        ArgumentNullException.ThrowIfNull(chain);
        var readers = Consumers(value).ToList();
        if (Producer(value) is null)
        {
            // An input that is an output too stays that output.
            Redirect(value, chain(value), readers);
            return;
        }

        // An output keeps its name, so the node gets a new one. Otherwise the node keeps its name, which calibration and reports use.
        if (IsOutput(value))
        {
            var inner = RenameOutput(value, value + "/float");
            var last = Producer(chain(inner))!;
            Redirect(last.Output[0], value, Consumers(last.Output[0]));
            last.Output[0] = value;
            Changed();
        }
        else
        {
            Redirect(value, chain(value), readers);
        }
    }

    /// <summary>Sets the version of an operator set.</summary>
    public void RequireOperatorSet(string domain, long version)
    {
        if (Model.OpsetImport.FirstOrDefault(set => set.Domain == domain) is { } present)
        {
            present.Version = Math.Max(present.Version, version);
        }
        else
        {
            var added = new OperatorSetIdProto { Version = version };
            added.Domain = domain;
            Model.OpsetImport.Add(added);
        }
    }

    /// <summary>Removes the constants that no node reads and that are no outputs.</summary>
    public void RemoveUnusedConstants()
    {
        var unused = Proto.Initializer.Where(tensor => Consumers(tensor.Name).Count == 0 && !IsOutput(tensor.Name)).ToList();
        foreach (var tensor in unused)
        {
            Proto.Initializer.Remove(tensor);
            constants.Remove(tensor.Name);
        }
    }

    /// <summary>Orders the nodes so that each comes after those whose outputs it reads. Nodes that do not depend on each other keep their order.</summary>
    /// <exception cref="NibbleException">Nodes depend on each other in a circle.</exception>
    public void Sort()
    {
        var waiting = new Dictionary<NodeProto, int>(ReferenceEqualityComparer.Instance);
        var order = new Dictionary<NodeProto, int>(ReferenceEqualityComparer.Instance);
        var ready = new PriorityQueue<NodeProto, int>();
        foreach (var node in Nodes)
        {
            order[node] = order.Count;
            waiting[node] = Subgraphs.Reads(node).Distinct(StringComparer.Ordinal).Count(value => Producer(value) is not null);
            if (waiting[node] == 0)
            {
                ready.Enqueue(node, order[node]);
            }
        }

        var sorted = new List<NodeProto>(Nodes.Count);
        while (ready.TryDequeue(out var node, out _))
        {
            sorted.Add(node);
            foreach (var consumer in node.Output.Distinct(StringComparer.Ordinal).Where(value => value.Length > 0).SelectMany(Consumers))
            {
                waiting[consumer]--;
                if (waiting[consumer] == 0)
                {
                    ready.Enqueue(consumer, order[consumer]);
                }
            }
        }

        if (sorted.Count < Nodes.Count)
        {
            throw new NibbleException($"The model's node '{Nodes.Except(sorted).First().Name}' reads a value that depends on its own output.");
        }

        Proto.Node.Clear();
        Proto.Node.AddRange(sorted);
        Changed();
    }

    /// <summary>Tells the graph that its nodes were changed in <see cref="Proto"/>.</summary>
    public void NodesChanged() => Changed();

    private void Changed() => (producers, consumers) = (null, null);

    private Dictionary<string, NodeProto> IndexProducers()
    {
        var index = new Dictionary<string, NodeProto>(StringComparer.Ordinal);
        foreach (var node in Nodes)
        {
            foreach (var value in node.Output.Where(value => value.Length > 0))
            {
                if (!index.TryAdd(value, node))
                {
                    throw new NibbleException($"Two nodes of the model, '{index[value].Name}' and '{node.Name}', compute the value '{value}'.");
                }
            }
        }

        return index;
    }

    private Dictionary<string, List<NodeProto>> IndexConsumers()
    {
        var index = new Dictionary<string, List<NodeProto>>(StringComparer.Ordinal);
        foreach (var node in Nodes)
        {
            foreach (var value in Subgraphs.Reads(node).Distinct(StringComparer.Ordinal))
            {
                if (!index.TryGetValue(value, out var readers))
                {
                    index.Add(value, readers = []);
                }

                readers.Add(node);
            }
        }

        return index;
    }
}
