namespace Nibble.Cli;

/// <summary>Exit codes of the process, documented in <c>docs/reference/exit-codes.md</c>.</summary>
internal static class ExitCode
{
    public const int Done = 0;
    public const int InternalError = 1;
    public const int Usage = 2;
    public const int BadInput = 3;
    public const int NoSolution = 4;
    public const int NativeLibrary = 5;
    public const int Cancelled = 130;
}
