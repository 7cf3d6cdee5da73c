package build

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/buildtoken/buildtoken/buildtoken/console"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/vault"
	"github.com/buildtoken/buildtoken/internal/atomicfile"
)

// Job is what a build needs of its job.
type Job struct {
	*job.Job
	Runner runner.Runner
	Poller runner.Poller // nil: the job cannot be polled
}

// Options configure a [Host].
type Options struct {
	// Dir holds logs, workspaces and uploads, in directories of these names. It
	// is required, absolute, and used by one Host at a time.
	Dir string
	// Node is the name of this server.
	Node string
	// LogLimit is how many bytes a build can write to its log; 0 means no limit.
	LogLimit int64
	// Vault opens password parameters. It is required.
	Vault *vault.Vault
	// Logs and Files keep logs and uploads for all servers. If they are nil,
	// these stay in Dir.
	Logs  console.Keeper
	Files FileKeeper
	// Log returns the logger to use now. It is required, because a Host lives
	// longer than the configuration that names the logger.
	Log func() *zap.Logger
	// SetHandle stores the handle of a build that can be resumed. It is required.
	SetHandle func(ctx context.Context, job string, number int64, handle []byte) error
	// LogBegun, if set, is called when the log of an item's build can be read.
	LogBegun func(item int64)

	files atomicfile.Files // of Dir; a test records what is durable
}

// Host runs builds on this server. All methods are safe for concurrent use.
type Host struct {
	opts    Options
	logs    logs
	uploads uploads
	spaces  workspaces
	swept   sweeper
	held    hold
	remotes remotes

	scarce rate.Sometimes // at most one log line a second for all builds
}

// NewHost returns a Host. It does no I/O.
func NewHost(opts Options) *Host {
	return &Host{
		opts:    opts,
		logs:    newLogs(filepath.Join(opts.Dir, "logs"), opts.Logs, opts.files),
		uploads: uploads{dir: filepath.Join(opts.Dir, "uploads"), keeper: opts.Files, files: opts.files},
		spaces:  workspaces{dir: filepath.Join(opts.Dir, "workspaces")},
		scarce:  rate.Sometimes{Interval: time.Second},
	}
}

// Cleanup removes the uploads of a build whose end is recorded, and the logs of
// the job's builds with numbers below oldest.
func (h *Host) Cleanup(ctx context.Context, b queue.Build, oldest int64) error {
	h.RemoveUploads(b.Item.Values)
	if h.held.delay(func() { _ = h.swept.below(h.logs.Store, b.Item.Job, oldest) }) { // or the next build of the job removes them
		return nil
	}
	if err := h.swept.below(h.logs.Store, b.Item.Job, oldest); err != nil {
		return err
	}
	if h.logs.keeper == nil {
		return nil
	}
	if err := h.logs.keeper.DropLogs(ctx, b.Item.Job, oldest); err != nil {
		return fmt.Errorf("build: drop logs of %s: %w", b.Item.Job, err)
	}
	return nil
}

// describe returns the build as its runner sees it.
func (h *Host) describe(j *Job, b queue.Build, values []job.Value, workspace string) runner.Build {
	described := runner.Describe(j.Job, b, values, runner.Place{Node: h.opts.Node, Workspace: workspace})
	for i, v := range values {
		if v.Ref != "" {
			described.Params[i].File = h.uploads.path(v.Ref)
		}
	}
	return described
}

// about returns a logger for messages about a build.
func about(log *zap.Logger, b queue.Build) *zap.Logger {
	return log.With(zap.String("job", b.Item.Job), zap.Int64("number", b.Number), zap.Int64("item", b.Item.ID))
}

// startedBy returns who triggered an item first, without the text that came along: that may
// hold anything.
func startedBy(it queue.Item) []zap.Field {
	if len(it.Causes) == 0 {
		return nil
	}
	c := it.Causes[0]
	return []zap.Field{
		zap.String("by", string(c.Kind)), zap.String("token", c.Token), zap.String("user", c.User), zap.String("webhook", c.Webhook),
		zap.String("remote", c.Addr),
	}
}

// guard calls code of a runner or poller, which can come from a guest module.
// It logs a panic and returns it as an error: a panic must not end the server,
// which has other builds to run.
func guard(log *zap.Logger, what string, call func()) (err error) {
	defer func() {
		if r := recover(); r != nil {
			log.Error(what+" panicked", zap.Any("panic", r), zap.Stack("stack"))
			err = fmt.Errorf("the %s panicked; see the server's log", what)
		}
	}()
	call()
	return nil
}
