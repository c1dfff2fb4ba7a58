using System.Reflection;
using System.Runtime.InteropServices;
using Nibble.Cli.Report;
using TorchSharp;

namespace Nibble.Cli.Comparison;

/// <summary>Names the machine and the software that produced the figures.</summary>
internal static class Environs
{
    public static MachineInfo Machine() => new(
        Processor(),
        Environment.ProcessorCount,
        RuntimeInformation.OSDescription,
        GC.GetGCMemoryInfo().TotalAvailableMemoryBytes);

    public static VersionInfo Versions() => new(
        InformationalVersion(typeof(Environs).Assembly),
        Environment.Version.ToString(),
        InformationalVersion(typeof(torch).Assembly),
        torch.__version__);

    private static string Processor()
    {
        const string linuxFile = "/proc/cpuinfo";
        var line = File.Exists(linuxFile) ? File.ReadLines(linuxFile).FirstOrDefault(text => text.StartsWith("model name", StringComparison.Ordinal)) : null;
        return line?[(line.IndexOf(':', StringComparison.Ordinal) + 1)..].Trim()
            ?? Environment.GetEnvironmentVariable("PROCESSOR_IDENTIFIER")
            ?? RuntimeInformation.ProcessArchitecture.ToString();
    }

    private static string InformationalVersion(Assembly assembly) =>
        assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()!.InformationalVersion.Split('+')[0];
}
