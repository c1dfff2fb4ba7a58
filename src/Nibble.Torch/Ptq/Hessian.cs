using Nibble.Algorithms;
using Nibble.Numerics;
using Nibble.Torch.Layers;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Torch.Ptq;

/// <summary>
/// Accumulates the Hessian of a linear layer's squared output error: <c>H = 2/n X^T X</c> over the n tokens of its inputs X (Frantar et al. 2022, section 3).
/// </summary>
/// <remarks>In the paper's code, n is the number of sequences. A constant factor of H does not change the codes.</remarks>
public sealed class Hessian : IDisposable
{
    private readonly Tensor sum;

    /// <summary>Creates an accumulator without inputs. It needs <paramref name="columns"/> x <paramref name="columns"/> float32 values.</summary>
    /// <param name="columns">The number of columns of the weight, at least 1.</param>
    /// <param name="device">The device of the sums. Default: null, the CPU.</param>
    public Hessian(int columns, Device? device = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(columns, 1);
        Columns = columns;
        sum = zeros([columns, columns], float32, device).DetachFromDisposeScope();
    }

    /// <summary>The number of columns of the weight.</summary>
    public int Columns { get; }

    /// <summary>X^T X, [columns, columns].</summary>
    internal Tensor Sum => sum;

    /// <summary>The number of tokens so far.</summary>
    public long Tokens { get; private set; }

    /// <summary>Adds a batch of inputs without its padding (<see cref="TokenMask"/>).</summary>
    /// <param name="inputs">The inputs, [..., columns], of any floating-point type. They are not changed.</param>
    /// <exception cref="ArgumentException">The last axis has another length.</exception>
    public void Add(Tensor inputs)
    {
        ArgumentNullException.ThrowIfNull(inputs);
        if (inputs.dim() == 0 || inputs.shape[^1] != Columns)
        {
            throw new ArgumentException($"The inputs have the shape [{string.Join(", ", inputs.shape)}], expected [..., {Columns}].", nameof(inputs));
        }

        using var guard = no_grad();
        using var scope = NewDisposeScope();
        var tokens = TokenMask.Select(inputs.detach()).to(sum.device).to(float32).reshape(-1, Columns);
        sum.addmm_(tokens.t(), tokens, 1, 1);
        Tokens += tokens.shape[0];
    }

    /// <summary>The Hessian, in the form that <see cref="HessianFactor.Create(SquareMatrix, bool, double, int?)"/> requires.</summary>
    /// <exception cref="NibbleException">There were no inputs.</exception>
    public SquareMatrix Matrix()
    {
        if (Tokens == 0)
        {
            throw new NibbleException("The layer received no inputs, so its Hessian is unknown. Calibrate on data that reach the layer.");
        }

        var matrix = new SquareMatrix(Columns);
        CopyTo(matrix);
        return matrix;
    }

    /// <summary>Copies the Hessian, one block of the matrix at a time.</summary>
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

    /// <summary>Releases the memory.</summary>
    public void Dispose() => sum.Dispose();
}
