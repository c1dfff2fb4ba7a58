using System.Globalization;
using System.Numerics;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;

namespace Nibble.Onnx.Data;

/// <summary>What can be done with tensors of one type of element.</summary>
internal abstract class TensorKind
{
    /// <summary>The most elements of one tensor: 1 GiB of floats.</summary>
    public const int MostElements = 1 << 28;

    private static readonly TensorKind[] Kinds =
    [
        new TensorKind<float>(TensorElementType.Float, "float", value => (float)value, float.IsFinite),
        new TensorKind<double>(TensorElementType.Double, "double", value => value, double.IsFinite),
        new TensorKind<Float16>(TensorElementType.Float16, "float16", value => new Float16(BitConverter.HalfToUInt16Bits((Half)value)), Float16.IsFinite),
        Integer<sbyte>(TensorElementType.Int8, "int8"),
        Integer<byte>(TensorElementType.UInt8, "uint8"),
        Integer<short>(TensorElementType.Int16, "int16"),
        Integer<ushort>(TensorElementType.UInt16, "uint16"),
        Integer<int>(TensorElementType.Int32, "int32"),
        Integer<uint>(TensorElementType.UInt32, "uint32"),
        Integer<long>(TensorElementType.Int64, "int64"),
        Integer<ulong>(TensorElementType.UInt64, "uint64"),
        new TensorKind<bool>(TensorElementType.Bool, "bool", value => value is 0 or 1 ? value == 1 : throw new OverflowException()),
    ];

    /// <summary>The type of the elements.</summary>
    public abstract TensorElementType Type { get; }

    /// <summary>The name of the type, for messages.</summary>
    public abstract string Name { get; }

    /// <summary>Whether the elements have a fraction.</summary>
    public abstract bool IsFloat { get; }

    /// <summary>The kind of an input's tensors.</summary>
    /// <exception cref="NibbleException">Tensors of this type are not supported.</exception>
    public static TensorKind Of(GraphInput input) => Array.Find(Kinds, kind => kind.Type == input.Type)
        ?? throw new NibbleException($"Input '{input.Name}' is {input.Text}; supported are {string.Join(", ", Kinds.Select(kind => kind.Name))}");

    /// <summary>The kind of a tensor.</summary>
    /// <exception cref="NibbleException">It is not a tensor, or tensors of its type are not supported.</exception>
    public static TensorKind Of(NamedOnnxValue value) => Array.Find(Kinds, kind => kind.Holds(value))
        ?? throw new NibbleException($"'{value.Name}' is a {value.ValueType} of an unsupported type; supported are tensors of "
            + string.Join(", ", Kinds.Select(kind => kind.Name)));

    /// <summary>The name of a type, for messages.</summary>
    public static string NameOf(TensorElementType type) => Array.Find(Kinds, kind => kind.Type == type)?.Name ?? type.ToString();

    /// <summary>Checks that sizes are those of a tensor that memory can hold.</summary>
    /// <param name="sizes">Positive sizes.</param>
    /// <param name="place">The tensor, for messages.</param>
    /// <exception cref="NibbleException">There are too many elements.</exception>
    public static int[] RequireSize(IReadOnlyList<long> sizes, string place)
    {
        var count = sizes.Aggregate(BigInteger.One, (product, size) => product * size);
        return count <= MostElements ? [.. sizes.Select(size => (int)size)]
            : throw new NibbleException($"{place}: one sample with the sizes [{string.Join(", ", sizes)}] has {count} values, expected at most {MostElements}");
    }

    /// <summary>Makes a tensor.</summary>
    /// <param name="name">The name of the input.</param>
    /// <param name="shape">The sizes.</param>
    /// <param name="numbers">The elements in row-major order, as many as the sizes say.</param>
    /// <param name="place">The origin of the numbers, for messages.</param>
    /// <exception cref="NibbleException">A number is not finite or does not fit the type, or fractions are given for integers.</exception>
    public abstract NamedOnnxValue Create(string name, int[] shape, ReadNumbers numbers, string place);

    /// <summary>A tensor of zeros.</summary>
    public abstract NamedOnnxValue Zeros(string name, int[] shape);

    /// <summary>A copy of a tensor under another name, in memory of its own.</summary>
    public abstract NamedOnnxValue Copy(NamedOnnxValue value, string name);

    /// <summary>The sizes of a tensor.</summary>
    public abstract int[] ShapeOf(NamedOnnxValue value);

    /// <summary>Joins tensors that differ at most in the size of their first axis, along that axis.</summary>
    public abstract NamedOnnxValue Concatenate(IReadOnlyList<NamedOnnxValue> values);

    /// <summary>Whether two tensors of the same shape have the same elements.</summary>
    public abstract bool HaveSameElements(NamedOnnxValue first, NamedOnnxValue second);

    /// <summary>Whether a value is a tensor of this kind.</summary>
    protected abstract bool Holds(NamedOnnxValue value);

    private static TensorKind<T> Integer<T>(TensorElementType type, string name)
        where T : unmanaged, IBinaryInteger<T> => new(type, name, T.CreateChecked);
}

/// <summary>What can be done with tensors of one type of element.</summary>
/// <typeparam name="T">The type.</typeparam>
internal sealed class TensorKind<T> : TensorKind
    where T : unmanaged
{
    private readonly Func<double, T>? fromFloat;
    private readonly Func<T, bool>? isFinite;
    private readonly Func<long, T>? fromInteger;

    /// <summary>A kind with fractions.</summary>
    public TensorKind(TensorElementType type, string name, Func<double, T> convert, Func<T, bool> isFinite) =>
        (Type, Name, fromFloat, this.isFinite) = (type, name, convert, isFinite);

    /// <summary>A kind without fractions.</summary>
    /// <param name="type">The type of the elements.</param>
    /// <param name="name">The name of the type, for messages.</param>
    /// <param name="convert">Throws an <see cref="OverflowException"/> for integers that the type does not hold.</param>
    public TensorKind(TensorElementType type, string name, Func<long, T> convert) => (Type, Name, fromInteger) = (type, name, convert);

    /// <inheritdoc/>
    public override TensorElementType Type { get; }

    /// <inheritdoc/>
    public override string Name { get; }

    /// <inheritdoc/>
    public override bool IsFloat => fromFloat is not null;

    /// <summary>Makes a tensor of elements.</summary>
    public static NamedOnnxValue Create(string name, int[] shape, T[] elements) => NamedOnnxValue.CreateFromTensor(name, new DenseTensor<T>(elements, shape));

    /// <inheritdoc/>
    public override NamedOnnxValue Create(string name, int[] shape, ReadNumbers numbers, string place)
    {
        var elements = new T[numbers.Length];
        for (var i = 0; i < elements.Length; i++)
        {
            elements[i] = fromInteger is null ? Float(numbers, i, name, place) : Integer(numbers, i, name, place);
        }

        return Create(name, shape, elements);
    }

    /// <inheritdoc/>
    public override NamedOnnxValue Zeros(string name, int[] shape) => Create(name, shape, new T[shape.Aggregate(1, (product, size) => product * size)]);

    /// <inheritdoc/>
    public override NamedOnnxValue Copy(NamedOnnxValue value, string name) => Create(name, ShapeOf(value), Elements(value).ToArray());

    /// <inheritdoc/>
    public override int[] ShapeOf(NamedOnnxValue value) => ((Tensor<T>)value.Value).Dimensions.ToArray();

    /// <inheritdoc/>
    public override NamedOnnxValue Concatenate(IReadOnlyList<NamedOnnxValue> values)
    {
        var shapes = values.Select(ShapeOf).ToList();
        var sizes = RequireSize([shapes.Sum(shape => (long)shape[0]), .. shapes[0].Skip(1)], $"A batch for input '{values[0].Name}'");
        var elements = new T[sizes.Aggregate(1, (product, size) => product * size)];
        var at = 0;
        foreach (var value in values)
        {
            var source = Elements(value);
            source.CopyTo(elements.AsSpan(at));
            at += source.Length;
        }

        return Create(values[0].Name, sizes, elements);
    }

    /// <inheritdoc/>
    public override bool HaveSameElements(NamedOnnxValue first, NamedOnnxValue second) => Elements(first).SequenceEqual(Elements(second));

    /// <inheritdoc/>
    protected override bool Holds(NamedOnnxValue value) => value.Value is Tensor<T>;

    private static ReadOnlySpan<T> Elements(NamedOnnxValue value) =>
        value.Value is DenseTensor<T> dense ? dense.Buffer.Span : ((Tensor<T>)value.Value).ToArray();

    private T Float(ReadNumbers numbers, int index, string name, string place)
    {
        var number = numbers.Integers is { } integers ? integers[index] : numbers.Floats![index];
        var value = fromFloat!(number);
        return isFinite!(value) ? value : throw new NibbleException(string.Create(CultureInfo.InvariantCulture,
            $"{place}: value {index} for input '{name}' is {number}, expected a finite number that {Name} holds"));
    }

    private T Integer(ReadNumbers numbers, int index, string name, string place)
    {
        if (numbers.Integers is not { } integers)
        {
            throw new NibbleException($"{place}: input '{name}' gets numbers with fractions, expected {Name}. Save integers");
        }

        try
        {
            return fromInteger!(integers[index]);
        }
        catch (OverflowException exception)
        {
            throw new NibbleException($"{place}: value {index} for input '{name}' is {integers[index]}, which {Name} does not hold", exception);
        }
    }
}
