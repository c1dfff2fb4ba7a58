using Nibble.Torch.Native;
using Nibble.Torch.Tests.Shared;
using Xunit.Sdk;
using Xunit.v3;

[assembly: AssemblyFixture(typeof(SingleThread))]

// A collection that one test forces would end the pause that protects another's step (see CollectorPause); so would one in a property's other sample.
[assembly: Parallelization(Mode = ParallelMode.None)]

namespace Nibble.Torch.Tests.Shared;

/// <summary>Loads libtorch and keeps it and the samples of properties to one thread, so that sums come in one order and tests do not crowd each other out.</summary>
public sealed class SingleThread
{
    public SingleThread()
    {
        TorchRuntime.EnsureLoaded();
        TorchSharp.torch.set_num_threads(1);
        Check.Threads = 1;
    }
}
