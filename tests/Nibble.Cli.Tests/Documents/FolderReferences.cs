using Mono.Cecil;

namespace Nibble.Cli.Tests.Documents;

/// <summary>Which types of an assembly name which others, anywhere in their declarations and their code.</summary>
internal sealed class FolderReferences
{
    private readonly ModuleDefinition module;
    private readonly HashSet<(string From, string To)> references = [];

    private FolderReferences(ModuleDefinition module) => this.module = module;

    /// <summary>Reads an assembly.</summary>
    /// <param name="path">The assembly.</param>
    /// <returns>Pairs of full names of types that are not nested; those inside them count as they do.</returns>
    public static IReadOnlySet<(string From, string To)> Of(string path)
    {
        using var module = ModuleDefinition.ReadModule(path);
        var reader = new FolderReferences(module);
        foreach (var type in module.Types)
        {
            reader.Read(type);
        }

        return reader.references;
    }

    /// <summary>A round of folders, each of which names the next, among those that lie side by side; null where there is none.</summary>
    /// <remarks>What stands in a folder counts as that of the folder itself, with all that it contains; what stands right in their parent is left out.</remarks>
    /// <param name="references">Pairs of full names.</param>
    /// <param name="parent">The namespace whose folders are looked at.</param>
    public static IReadOnlyList<string>? FindCycle(IEnumerable<(string From, string To)> references, string parent)
    {
        var edges = references.Select(pair => (From: Child(pair.From), To: Child(pair.To)))
            .Where(pair => pair is { From: not null, To: not null } && pair.From != pair.To).Distinct().ToLookup(pair => pair.From!, pair => pair.To!);
        var finished = new HashSet<string>();
        var path = new List<string>();
        return edges.Select(group => Visit(group.Key)).FirstOrDefault(cycle => cycle is not null);

        string? Child(string type)
        {
            var rest = type.StartsWith(parent + ".", StringComparison.Ordinal) ? type[(parent.Length + 1)..].Split('.') : [];
            return rest.Length > 1 ? rest[0] : null;
        }

        List<string>? Visit(string folder)
        {
            if (path.IndexOf(folder) is >= 0 and var start)
            {
                return [.. path[start..], folder];
            }

            path.Add(folder);
            var cycle = finished.Contains(folder) ? null : edges[folder].Select(Visit).FirstOrDefault(found => found is not null);
            path.RemoveAt(path.Count - 1);
            finished.Add(folder);
            return cycle;
        }
    }

    private void Read(TypeDefinition type)
    {
        Add(type, type.BaseType);
        foreach (var used in type.Interfaces.Select(item => item.InterfaceType).Concat(type.Fields.Select(field => field.FieldType))
            .Concat(type.CustomAttributes.Select(attribute => attribute.AttributeType)))
        {
            Add(type, used);
        }

        foreach (var method in type.Methods)
        {
            Add(type, method);
            foreach (var variable in method.HasBody ? method.Body.Variables : [])
            {
                Add(type, variable.VariableType);
            }

            foreach (var instruction in method.HasBody ? method.Body.Instructions : [])
            {
                switch (instruction.Operand)
                {
                    case MethodReference called:
                        Add(type, called);
                        break;
                    case FieldReference field:
                        Add(type, field.DeclaringType);
                        Add(type, field.FieldType);
                        break;
                    case TypeReference named:
                        Add(type, named);
                        break;
                    default:
                        break;
                }
            }
        }

        foreach (var nested in type.NestedTypes)
        {
            Read(nested);
        }
    }

    private void Add(TypeDefinition from, MethodReference method)
    {
        Add(from, method.DeclaringType);
        Add(from, method.ReturnType);
        foreach (var parameter in method.Parameters)
        {
            Add(from, parameter.ParameterType);
        }

        foreach (var argument in method is GenericInstanceMethod generic ? generic.GenericArguments : [])
        {
            Add(from, argument);
        }
    }

    private void Add(TypeDefinition from, TypeReference? to)
    {
        switch (to)
        {
            case GenericInstanceType generic:
                Add(from, generic.ElementType);
                foreach (var argument in generic.GenericArguments)
                {
                    Add(from, argument);
                }

                break;
            case TypeSpecification part:
                Add(from, part.ElementType);
                break;
            case null or GenericParameter:
                break;
            default:
                if (to.Scope == module)
                {
                    references.Add((Outermost(from).FullName, Outermost(to).FullName));
                }

                break;
        }
    }

    private static TypeReference Outermost(TypeReference type) => type.DeclaringType is { } outer ? Outermost(outer) : type;
}
