namespace Nibble.Torch.Calibration;

/// <summary>A recipe needs data that are missing.</summary>
/// <param name="message">What the data are needed for.</param>
public sealed class MissingDataException(string message) : NibbleException(message)
{
}
