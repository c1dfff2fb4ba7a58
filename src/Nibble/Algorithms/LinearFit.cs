namespace Nibble.Algorithms;

/// <summary>Least squares for the line <c>value = scale * (code - zeroPoint)</c> through weighted points, from their sums.</summary>
/// <param name="Weight">The sum of the points' weights.</param>
/// <param name="Code">The weighted sum of the codes.</param>
/// <param name="SquaredCode">The weighted sum of the squared codes.</param>
/// <param name="Value">The weighted sum of the values.</param>
/// <param name="Product">The weighted sum of code times value.</param>
internal readonly record struct LinearFit(double Weight, double Code, double SquaredCode, double Value, double Product)
{
    /// <summary>The best scale for a zero point; NaN or not positive if there is none.</summary>
    public double Scale(double zeroPoint) =>
        (Product - (zeroPoint * Value)) / (SquaredCode - (2 * zeroPoint * Code) + (zeroPoint * zeroPoint * Weight));

    /// <summary>The zero point of the best line, not rounded; not finite if there is no best line.</summary>
    public double ZeroPoint() => ((Code * Product) - (SquaredCode * Value)) / ((Weight * Product) - (Code * Value));
}
