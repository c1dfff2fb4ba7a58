using System.Collections;
using System.Reflection;
using System.Runtime.CompilerServices;
using Nibble.Torch.Layers;
using TorchSharp.Utils;
using static TorchSharp.torch;

namespace Nibble.Torch.Qat;

/// <summary>A module inside another module.</summary>
/// <param name="Path">Its name from the root, for example <c>features.0</c>.</param>
/// <param name="Name">Its name inside its parent.</param>
/// <param name="Parent">The parent module.</param>
/// <param name="ParentPath">The parent's path. Empty for the root.</param>
/// <param name="Module">The module itself.</param>
internal sealed record ModuleNode(string Path, string Name, nn.Module Parent, string ParentPath, nn.Module Module);

/// <summary>Lists the modules inside a module, and replaces them.</summary>
/// <remarks>
/// TorchSharp cannot replace a child. Registering a name twice throws, and setting only the field leaves <c>state_dict</c>, <c>parameters</c> and <c>to</c>
/// with the old module. Therefore a child is replaced everywhere its parent refers to it: in fields, in arrays, lists and dictionaries held by fields
/// (ModuleList and ModuleDict have such), and in the parent's private table of children. Only this class knows that table.
/// </remarks>
internal static class ModuleTree
{
    private const string ChildrenField = "_internal_submodules";
    private const BindingFlags Declared = BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.DeclaredOnly;

    /// <summary>All modules inside <paramref name="root"/>, parents first. Modules inside a quantizable layer are not listed.</summary>
    public static IReadOnlyList<ModuleNode> Nodes(nn.Module root)
    {
        var nodes = new List<ModuleNode>();
        Add(root, string.Empty);
        return nodes;

        void Add(nn.Module parent, string path)
        {
            foreach (var (name, child) in parent.named_children())
            {
                var childPath = path.Length == 0 ? name : $"{path}.{name}";
                nodes.Add(new ModuleNode(childPath, name, parent, path, child));
                if (child is not IQuantizableLayer)
                {
                    Add(child, childPath);
                }
            }
        }
    }

    /// <summary>Replaces modules, either all or none.</summary>
    /// <exception cref="NibbleException">A field or collection cannot hold its new module. The message names all of them.</exception>
    public static void Replace(IReadOnlyList<(ModuleNode Node, nn.Module Module)> replacements)
    {
        var faults = new List<string>();
        var assignments = new List<Action>();
        foreach (var (node, module) in replacements)
        {
            Plan(node, module, assignments, faults);
        }

        if (faults.Count > 0)
        {
            throw new NibbleException($"{string.Join("; ", faults)}. Change this in the class, or keep the layer in float with a rule that has no weights.");
        }

        assignments.ForEach(assign => assign());
    }

    private static void Plan(ModuleNode node, nn.Module module, List<Action> assignments, List<string> faults)
    {
        var (old, parent) = (node.Module, node.Parent);
        var places = 0;
        for (var type = parent.GetType(); type is not null && type != typeof(object); type = type.BaseType)
        {
            foreach (var field in type.GetFields(Declared))
            {
                var value = field.GetValue(parent);
                if (ReferenceEquals(value, old))
                {
                    Put(
                field.FieldType,
                $"{(field.Name.StartsWith('<') ? $"the property {field.Name[1..field.Name.IndexOf('>')]}" : $"the field {field.Name}")} of class {type.Name}",
                () => field.SetValue(parent, module));
                }
                else if (value is IDictionary dictionary)
                {
                    foreach (var key in dictionary.Keys.Cast<object>().Where(key => ReferenceEquals(dictionary[key], old)).ToList())
                    {
                        Put(ElementType(value, typeof(IDictionary<,>), 1), Place(field, type), () => dictionary[key] = module);
                    }
                }
                else if (value is IList { IsReadOnly: false } list)
                {
                    PlanList(list, Place(field, type));
                }
            }
        }

        var children = Children(parent);
        if (children.ContainsKey(node.Name))
        {
            assignments.Add(() => children[node.Name] = module);
        }

        if (places == 0)
        {
            faults.Add($"'{node.Path}' is registered in {parent.GetType().Name}, but no field, array, list or dictionary there holds it, so it cannot be "
                + $"replaced; keep it in a field");
        }

        void PlanList(IList list, string place)
        {
            for (var i = 0; i < list.Count; i++)
            {
                var index = i;
                if (ReferenceEquals(list[i], old))
                {
                    Put(ElementType(list, typeof(IList<>), 0), place, () => list[index] = module);
                }
                else if (list[i] is ITuple { Length: 2 } pair && ReferenceEquals(pair[1], old))
                {
                    // ModuleDict keeps the order of its members in a list of names and modules.
                    var tuple = list[i]!.GetType();
                    Put(tuple.GenericTypeArguments[1], place, () => list[index] = Activator.CreateInstance(tuple, pair[0], module));
                }
            }
        }

        void Put(Type declared, string place, Action assign)
        {
            places++;
            assignments.Add(assign);
            if (!declared.IsInstanceOfType(module))
            {
                faults.Add($"'{node.Path}' is stored in {place} as {Name(declared)}, which a {module.GetType().Name} is not: declare it as nn.Module<Tensor, "
                    + $"Tensor>");
            }
        }
    }

    private static string Place(FieldInfo field, Type type) =>
        type.Assembly == typeof(nn.Module).Assembly ? $"a {Name(type)}" : $"the field {field.Name} of class {type.Name}";

    private static string Name(Type type) =>
        type.IsGenericType ? $"{type.Name[..type.Name.IndexOf('`', StringComparison.Ordinal)]}<{string.Join(", ", type.GenericTypeArguments.Select(Name))}>"
            : type.Name;

    private static Type ElementType(object collection, Type definition, int argument) =>
        collection.GetType().GetInterfaces().FirstOrDefault(
            type => type.IsGenericType && type.GetGenericTypeDefinition() == definition)?.GenericTypeArguments[argument] ?? typeof(object);

    private static OrderedDict<string, nn.Module> Children(nn.Module module) =>
        typeof(nn.Module).GetField(ChildrenField, Declared)?.GetValue(module) as OrderedDict<string, nn.Module>
            ?? throw new NibbleException(
                $"TorchSharp {typeof(nn.Module).Assembly.GetName().Version} does not keep the children of a module in {ChildrenField}, so layers cannot "
                + $"be replaced by fake-quantized ones. Use TorchSharp 0.107, or build the module from {nameof(QuantizableLinear)}, "
                + $"{nameof(QuantizableConv2d)} and {nameof(QuantizableEmbedding)}");
}
