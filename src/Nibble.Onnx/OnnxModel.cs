using System.Reflection;

namespace Nibble.Onnx;

/// <summary>Properties that all exported models share.</summary>
internal static class OnnxModel
{
    /// <summary>The version written into models.</summary>
    public static string Version { get; } = typeof(OnnxModel).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()!.InformationalVersion
        .Split('+')[0];
}
