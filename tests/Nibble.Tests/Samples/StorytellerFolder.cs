using Nibble.Tests.Shared;

namespace Nibble.Tests.Samples;

internal static class StorytellerFolder
{
    /// <summary>The path of a committed file of samples/storyteller.</summary>
    public static string Find(string relative) => Repository.At("samples", "storyteller", relative);
}
