using Nibble.Numerics;
using Nibble.Recipes;

namespace Nibble.Algorithms;

/// <summary>The result of GPTQ.</summary>
/// <param name="Weight">The quantized weight, with a group index for <see cref="ActivationOrder.Group"/>.</param>
/// <param name="Loss">
/// The sum over all weights of <c>(w - q)^2 / U_ii^2 / 2</c>, as in the paper's code, with w at the time it was quantized. It equals
/// <c>tr((W - Q) H (W - Q)^T) / 2</c> with the damped Hessian.
/// </param>
public sealed record GptqResult(QuantizedTensor Weight, double Loss);
