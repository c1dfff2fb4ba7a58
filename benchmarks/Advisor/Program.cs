using System.CommandLine;
using Nibble.Benchmarks.Advisor;

var root = new RootCommand("How good the advisor's predictions and its choices are.")
{
    TruthCommand.Create(),
    CurvesCommand.Create(),
    CheckCommand.Create(),
};
return await root.Parse(args).InvokeAsync();
