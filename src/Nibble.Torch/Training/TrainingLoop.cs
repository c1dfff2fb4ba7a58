using Nibble.Files;
using System.Diagnostics;
using System.Globalization;
using Nibble.Recipes;
using Nibble.Torch.Native;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Training;

/// <summary>Trains a task according to <see cref="QatSettings"/>.</summary>
/// <remarks>
/// It uses AdamW (Loshchilov and Hutter 2019) with linear warm-up and cosine decay. Gradients are accumulated over the parts of a batch and clipped by norm.
/// With the same number of threads, a run that resumes from a checkpoint produces the same bits as one that was not interrupted.
/// <para>With <see cref="QatSettings.AverageDecay"/>, the moving average of the weights replaces them at the end and for every evaluation on held-out data. Its
/// decay is at most (1 + n) / (10 + n) after n steps, so that the initial weights fade out. Scales are not averaged: each belongs to the grid of its step, and
/// their rate is low at the end.</para>
/// </remarks>
internal sealed class TrainingLoop
{
    private const double Beta1 = 0.9;
    private const double Beta2 = 0.95;
    private const double Epsilon = 1e-8;
    private const string Loss = "loss";

    private readonly TrainingTask task;
    private readonly QatSettings settings;
    private readonly Parameter[] parameters;
    private readonly Parameter[] averaged;
    private readonly LossGuard guard = new();
    private readonly List<TrainingPoint> losses = [];
    private readonly List<TrainingPoint> heldOut = [];
    private Tensor[] averages = [];
    private Snapshot? best;
    private double bestLoss = double.PositiveInfinity;
    private int worseLooks;

    /// <summary>Prepares a training run.</summary>
    /// <param name="task">The task to train.</param>
    /// <param name="settings">The training settings.</param>
    /// <exception cref="ArgumentOutOfRangeException">A setting is out of range.</exception>
    public TrainingLoop(TrainingTask task, QatSettings settings)
    {
        ArgumentNullException.ThrowIfNull(task);
        ArgumentNullException.ThrowIfNull(settings);
        settings.Validate();
        this.task = task;
        this.settings = settings;
        parameters = [.. task.Groups.SelectMany(group => group.Parameters)];
        averaged = settings.AverageDecay > 0 ? [.. task.Groups.Where(group => group.Averaged).SelectMany(group => group.Parameters)] : [];
    }

    /// <summary>The number of completed steps.</summary>
    public int Step => losses.Count;

    /// <summary>The training loss of every step so far.</summary>
    public IReadOnlyList<TrainingPoint> Losses => losses;

    /// <summary>The losses on held-out data so far.</summary>
    public IReadOnlyList<TrainingPoint> HeldOutLosses => heldOut;

    private bool HasConverged => settings.Patience > 0 && worseLooks >= settings.Patience;

    /// <summary>The learning rate of a step, from 1, as a share of its peak.</summary>
    internal static double Schedule(QatSettings settings, int step)
    {
        var warm = settings.WarmUp * settings.Steps;
        if (step < warm)
        {
            return step / warm;
        }

        var share = settings.Steps > warm ? (step - warm) / (settings.Steps - warm) : 1;
        return settings.FinalLearningRate + ((1 - settings.FinalLearningRate) * (1 + Math.Cos(Math.PI * share)) / 2);
    }

    /// <summary>Trains to the last step.</summary>
    /// <param name="checkpoints">Where to save checkpoints. Training resumes from a checkpoint that is already there. Null saves none.</param>
    /// <param name="progress">Receives progress after each step.</param>
    /// <param name="cancellation">Cancels between steps. A checkpoint is written first.</param>
    /// <exception cref="NibbleException">The loss is no longer finite or has exploded, or the checkpoint belongs to another training run.</exception>
    public void Run(CheckpointOptions? checkpoints = null, IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
    {
        averages = Array.ConvertAll(averaged, Copy);
        if (checkpoints is not null)
        {
            RequireSpace(checkpoints.Path);
        }

        using var optimizer = CreateOptimizer();
        var saved = 0;
        if (checkpoints is not null && File.Exists(checkpoints.Path))
        {
            Load(checkpoints.Path, optimizer);
            saved = Step;
        }

        var lastSave = Stopwatch.GetTimestamp();
        try
        {
            while (Step < settings.Steps && !HasConverged)
            {
                if (cancellation.IsCancellationRequested)
                {
                    Save();
                    cancellation.ThrowIfCancellationRequested();
                }

                Advance(optimizer, Step + 1);
                progress?.Report(Progress());
                if (checkpoints?.Every is { } every ? Step % every == 0 : Stopwatch.GetElapsedTime(lastSave) > CheckpointOptions.Interval)
                {
                    Save();
                }
            }

            Save();
        }
        catch (NibbleException exception) when (saved > 0)
        {
            throw new NibbleException($"{exception.Message}. The checkpoint of step {saved} is in {checkpoints!.Path}", exception);
        }

        Finish();
        Array.ForEach(averages, average => average.Dispose());
        averages = [];

        void Save()
        {
            // While the loss is too high, the parameters may already be damaged.
            if (checkpoints is not null && guard.Excesses == 0 && Step > saved)
            {
                Write(checkpoints.Path, optimizer);
                saved = Step;
                lastSave = Stopwatch.GetTimestamp();
            }
        }
    }

    /// <summary>Fails early if there is no disk space for checkpoints. A new checkpoint is written next to the one that it replaces.</summary>
    private void RequireSpace(string path)
    {
        var copies = settings.Patience > 0 ? 4 : 3;
        var bytes = sizeof(float) * ((copies * parameters.Sum(parameter => parameter.numel())) + averages.Sum(average => average.numel()));
        var taken = File.Exists(path) ? new FileInfo(path).Length : 0;
        DiskSpace.Require(path, (2 * bytes) - taken, "the training checkpoint, in addition to the one that it replaces,");
    }

    private RunProgress Progress()
    {
        var look = heldOut.Count > 0 ? heldOut[^1].Loss : (double?)null;
        return new RunProgress("train", Step, settings.Steps, losses[^1].Loss)
        {
            Tokens = task.TokensPerStep,
            Perplexity = task.IsLogLikelihood ? Math.Exp(losses[^1].Loss) : look is { } loss ? Math.Exp(loss) : null,
            HeldOutLoss = look,
        };
    }

    private void Advance(AdamW optimizer, int step)
    {
        using var pause = CollectorPause.Begin();
        using var scope = NewDisposeScope();
        task.BeginStep?.Invoke(step);
        foreach (var group in optimizer.ParamGroups)
        {
            group.LearningRate = group.InitialLearningRate * Schedule(settings, step);
        }

        // Null, not zeros: a parameter that receives no gradient must not move, whether or not the run was interrupted.
        Array.ForEach(parameters, parameter => parameter.grad = null);
        var loss = 0d;
        for (var part = 0; part < settings.Accumulation; part++)
        {
            using var partScope = NewDisposeScope();
            var mean = NamedFault.In(string.Create(CultureInfo.InvariantCulture, $"training step {step}"), () => task.Loss(step, part));
            var value = mean.item<float>();
            RequireFinite(value, Loss, step);
            loss += value / settings.Accumulation;
            (settings.Accumulation == 1 ? mean : mean.DividedBy(settings.Accumulation)).backward();
        }

        RequireFinite(nn.utils.clip_grad_norm_(parameters, settings.GradientClip), "gradient", step);
        optimizer.step();
        UpdateAverages(step);
        losses.Add(new TrainingPoint(step, loss));
        if (step >= task.SettledStep)
        {
            guard.Add(loss);
            if (guard.Exploded)
            {
                throw new NibbleException(string.Create(
                    CultureInfo.InvariantCulture,
                    $"the training loss has exploded: it was above {guard.Limit:F3} for {LossGuard.Patience} steps and is {loss:F3} at step {step}. "
                        + $"{Advice()}"));
            }
        }

        if (task.HeldOutLoss is not null && settings.EvaluateEvery > 0 && (step % settings.EvaluateEvery == 0 || step == settings.Steps))
        {
            Look(step);
        }
    }

    /// <summary>Evaluates on held-out data and keeps the parameters with the best result.</summary>
    private void Look(int step)
    {
        using var inference = no_grad();
        SwapAverages();
        var loss = task.HeldOutLoss!();
        RequireFinite(loss, "loss on held-out data", step);
        heldOut.Add(new TrainingPoint(step, loss));
        if (step >= task.SettledStep && settings.Patience > 0)
        {
            if (loss < bestLoss)
            {
                best?.Release();
                best = new Snapshot([.. parameters.Select(Copy)], [.. task.States.Select(state => state.Save())]);
                (bestLoss, worseLooks) = (loss, 0);
            }
            else
            {
                worseLooks++;
            }
        }

        SwapAverages();
    }

    private void UpdateAverages(int step)
    {
        using var inference = no_grad();
        var decay = Math.Min(settings.AverageDecay, (1d + step) / (10 + step));
        for (var i = 0; i < averages.Length; i++)
        {
            averages[i].lerp_(averaged[i], 1 - decay);
        }
    }

    /// <summary>Swaps the averages and the parameters.</summary>
    private void SwapAverages()
    {
        for (var i = 0; i < averages.Length; i++)
        {
            using var scope = NewDisposeScope();
            var current = averaged[i].detach().clone();
            averaged[i].copy_(averages[i]);
            averages[i].copy_(current);
        }
    }

    private void Finish()
    {
        using var inference = no_grad();
        if (best is null)
        {
            SwapAverages();
            return;
        }

        foreach (var (parameter, value) in parameters.Zip(best.Parameters))
        {
            parameter.copy_(value);
        }

        foreach (var (state, value) in task.States.Zip(best.States))
        {
            state.Load(value);
        }

        best.Release();
        best = null;
    }

    private AdamW CreateOptimizer() => optim.AdamW(
        [
            .. task.Groups.Where(group => group.Parameters.Count > 0).Select(group => new AdamW.ParamGroup(
                group.Parameters,
                new AdamW.Options { LearningRate = group.LearningRate, InitialLearningRate = group.LearningRate, beta1 = Beta1, beta2 = Beta2, eps = Epsilon,
                    weight_decay = group.WeightDecay })),
        ],
        settings.LearningRate);

    private void RequireFinite(double value, string what, int step)
    {
        if (double.IsFinite(value))
        {
            return;
        }

        // At step 1, no learning rate can have damaged the model yet.
        throw new NibbleException(what == Loss && step == 1
            ? $"the training loss is {value} at step 1, before any training. The model, its quantized form or its teacher computes no finite loss on this "
                + "text. Score the float model on it"
            : string.Create(CultureInfo.InvariantCulture, $"the training {what} became {value} at step {step}. {Advice()}"));
    }

    private string Advice() => string.Create(
        CultureInfo.InvariantCulture,
        $"Lower the learning rate (it is {settings.LearningRate}), lengthen the warm-up (it is {settings.WarmUp} of the steps) or lower the rate of the scales "
            + $"(it is {settings.ScaleLearningRate})");

    private void Write(string path, AdamW optimizer)
    {
        var file = new TrainingCheckpoint();
        var states = optimizer.state_dict().State;
        for (var i = 0; i < parameters.Length; i++)
        {
            var moments = (AdamW.State)states[i];
            file.Add(Names.Parameter(i), parameters[i]);
            file.Add(Names.FirstMoment(i), moments.exp_avg);
            file.Add(Names.SecondMoment(i), moments.exp_avg_sq);
        }

        AddAll(averages, Names.Average, file.Add);
        AddAll([.. task.States.Select(state => state.Save())], Names.State, file.Add);
        if (best is not null)
        {
            AddAll(best.Parameters, Names.BestParameter, file.Add);
            AddAll(best.States, Names.BestState, file.Add);
        }

        file.Add(Names.Updates, [.. states.Select(state => (double)((AdamW.State)state).step)]);
        file.Add(Names.Losses, [.. losses.Select(point => point.Loss)]);
        file.Add(Names.HeldOut, [.. heldOut.SelectMany(point => new[] { point.Step, point.Loss })]);
        file.Add(Names.Loop, [bestLoss, worseLooks, guard.State.Mean, guard.State.Best, guard.State.Excesses]);
        file.Write(path);

        static void AddAll<T>(IReadOnlyList<T> values, Func<int, string> name, Action<string, T> add)
        {
            for (var i = 0; i < values.Count; i++)
            {
                add(name(i), values[i]);
            }
        }
    }

    private void Load(string path, AdamW optimizer)
    {
        using var inference = no_grad();
        using var file = new TrainingCheckpoint.Reader(path);
        var done = file.Doubles(Names.Losses);
        if (done.Length > settings.Steps)
        {
            throw file.Fault($"found {done.Length} steps, expected at most {settings.Steps}");
        }

        losses.Clear();
        losses.AddRange(done.Select((loss, i) => new TrainingPoint(i + 1, loss)));
        heldOut.Clear();
        heldOut.AddRange(file.Doubles(Names.HeldOut).Chunk(2).Select(pair => new TrainingPoint((int)pair[0], pair[^1])));

        // Changes at a step may restart parameters, so this comes before loading their values.
        task.BeginStep?.Invoke(Step);
        var states = optimizer.state_dict().State;
        var updates = file.Doubles(Names.Updates, parameters.Length);
        for (var i = 0; i < parameters.Length; i++)
        {
            var moments = (AdamW.State)states[i];
            file.CopyTo(Names.Parameter(i), parameters[i]);
            file.CopyTo(Names.FirstMoment(i), moments.exp_avg);
            file.CopyTo(Names.SecondMoment(i), moments.exp_avg_sq);
            moments.step = (long)updates[i];
        }

        for (var i = 0; i < averages.Length; i++)
        {
            file.CopyTo(Names.Average(i), averages[i]);
        }

        for (var i = 0; i < task.States.Count; i++)
        {
            task.States[i].Load(file.Floats(Names.State(i)));
        }

        if (file.Contains(Names.BestParameter(0)))
        {
            var values = Array.ConvertAll(parameters, Copy);
            for (var i = 0; i < values.Length; i++)
            {
                file.CopyTo(Names.BestParameter(i), values[i]);
            }

            best = new Snapshot(values, [.. task.States.Select((_, i) => file.Floats(Names.BestState(i)))]);
        }

        var loop = file.Doubles(Names.Loop, 5);
        (bestLoss, worseLooks, guard.State) = (loop[0], (int)loop[1], (loop[2], loop[3], loop[4]));
    }

    private static Tensor Copy(Tensor value)
    {
        using var inference = no_grad();
        using var scope = NewDisposeScope();
        return value.detach().clone().DetachFromDisposeScope();
    }

    /// <summary>The parameters and states of a step.</summary>
    private sealed record Snapshot(Tensor[] Parameters, float[][] States)
    {
        public void Release() => Array.ForEach(Parameters, value => value.Dispose());
    }

    /// <summary>The names of the entries in a checkpoint.</summary>
    private static class Names
    {
        public const string Updates = "optimizer.updates";
        public const string Losses = "losses";
        public const string HeldOut = "heldOut";
        public const string Loop = "loop";

        public static string Parameter(int i) => $"parameter.{i}";

        public static string FirstMoment(int i) => $"optimizer.first.{i}";

        public static string SecondMoment(int i) => $"optimizer.second.{i}";

        public static string Average(int i) => $"average.{i}";

        public static string State(int i) => $"state.{i}";

        public static string BestParameter(int i) => $"best.parameter.{i}";

        public static string BestState(int i) => $"best.state.{i}";
    }
}
