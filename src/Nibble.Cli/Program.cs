using Nibble.Cli;
using Nibble.Cli.Engines;

return args switch
{
    [LlamaCppServer.Verb, .. var rest] => LlamaCppServer.Run(rest),
    [BenchWorker.Verb, .. var rest] => BenchWorker.Run(rest),
    _ => await NibbleProgram.RunAsync(args, Console.Out, Console.Error).ConfigureAwait(false),
};
