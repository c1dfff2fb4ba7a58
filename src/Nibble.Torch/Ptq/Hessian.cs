using Nibble.Algorithms;
using Nibble.Numerics;
using Nibble.Torch.Layers;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Torch.Ptq;

/// <summary>Gathers the Hessian of a linear layer's squared output error: <c>H = 2/n X^T X</c> over the n tokens of its inputs X (Frantar et al. 2022, section
/// 3).</summary>
/// <remarks>The paper's code takes n as the number of sequences; a constant factor of H changes no code.</remarks>
public sealed class Hessian : IDisposable
{
    private readonly Tensor sum;

    /// <summary>Begins with no inputs; takes <paramref name="columns"/> x <paramref name="columns"/> float32.</summary>
    /// <param name="columns">Columns of the weight, at least 1.</param>
    /// <param name="device">Where to add up; null for the processor.</param>
    public Hessian(int columns, Device? device = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(columns, 1);
        Columns = columns;
        sum = zeros([columns, columns], float32, device).DetachFromDisposeScope();
    }

    /// <summary>Columns of the weight.</summary>
    public int Columns { get; }

    /// <summary>X^T X, [columns, columns].</summary>
    internal Tensor Sum => sum;

    /// <summary>Tokens seen.</summary>
    public long Tokens { get; private set; }

    /// <summary>Takes in a batch of inputs, without its padding (<see cref="TokenMask"/>).</summary>
    /// <param name="inputs">Any floating-point type, [..., columns]; unchanged.</param>
    /// <exception cref="ArgumentException">The last side has another length.</exception>
    public void Add(Tensor inputs)
    {
        ArgumentNullException.ThrowIfNull(inputs);
        if (inputs.dim() == 0 || inputs.shape[^1] != Columns)
        {
            throw new ArgumentException($"Inputs of shape [{string.Join(", ", inputs.shape)}] were given, expected [..., {Columns}].", nameof(inputs));
        }

        using var guard = no_grad();
        using var scope = NewDisposeScope();
        var tokens = TokenMask.Select(inputs.detach()).to(sum.device).to(float32).reshape(-1, Columns);
        sum.addmm_(tokens.t(), tokens, 1, 1);
        Tokens += tokens.shape[0];
    }

    /// <summary>The Hessian, as <see cref="HessianFactor.Create(SquareMatrix, bool, double, int?)"/> takes it.</summary>
    /// <exception cref="NibbleException">There were no inputs.</exception>
    public SquareMatrix Matrix()
    {
        if (Tokens == 0)
        {
            throw new NibbleException("No inputs of the layer were seen, so its Hessian is not known; calibrate on text that reaches the layer.");
        }

        var matrix = new SquareMatrix(Columns);
        CopyTo(matrix);
        return matrix;
    }

    /// <summary>Copies the Hessian, a block of the matrix at a time.</summary>
    internal void CopyTo(SquareMatrix matrix)
    {
        var scale = 2f / Tokens;
        for (var block = 0; block < matrix.BlockCount; block++)
        {
            using var scope = NewDisposeScope();
            var values = matrix.Block(block);
            var rows = sum.narrow(0, (long)block * matrix.BlockRows, values.Length / Columns).cpu();
            TensorMemory.Floats(rows).CopyTo(values);
            foreach (ref var value in values)
            {
                value *= scale;
            }
        }
    }

    /// <summary>Gives the memory back.</summary>
    public void Dispose() => sum.Dispose();
}
