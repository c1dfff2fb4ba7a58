using Nibble.Cli.Bench;
using Nibble.Cli;
using Nibble.Cli.Engines;
using Nibble.Cli.Rendering;

MemoryReserve.Hold();
return args switch
{
    [LlamaCppServer.Verb, .. var rest] => LlamaCppServer.Run(rest),
    [BenchWorker.Verb, .. var rest] => BenchWorker.Run(rest),
    _ => await NibbleProgram.RunAsync(args, StandardWriter.Output, StandardWriter.Error).ConfigureAwait(false),
};
