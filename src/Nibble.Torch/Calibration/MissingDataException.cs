namespace Nibble.Torch.Calibration;

/// <summary>A recipe needs data that were not given.</summary>
/// <param name="message">What for.</param>
public sealed class MissingDataException(string message) : NibbleException(message)
{
}
