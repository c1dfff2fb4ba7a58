namespace Nibble.Cli.Tests.Commands;

/// <summary>Tests that run commands in this process, one at a time: they share libtorch's number of threads.</summary>
[CollectionDefinition(Name, DisableParallelization = true)]
public sealed class OneAtATime
{
    public const string Name = "commands";
}
