package jenkins

import (
	"strconv"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// builtIn is Jenkins' name for the node that is the server itself.
const builtIn = "(built-in)"

// serveComputer serves /computer and below: this server, the only node that it runs
// builds on.
func (r *reader) serveComputer(rest web.Path) error {
	if isAPI(rest) {
		return r.export(rest, (*view).computers)
	}
	name := rest.At(0)
	return r.export(rest.From(1), func(v *view) object {
		// Some clients request a node by its displayName, as python-jenkins 1.4.0 does.
		if name != builtIn && name != "(master)" && name != v.ctl.Name() && name != v.displayName() {
			v.note(web.ErrNotFound)
			return nil
		}
		return v.computer()
	})
}

// computers lists the nodes, and how many of their executors are busy.
func (v *view) computers() object {
	busy, total := v.ctl.Running(), v.ctl.Executors()
	return object{
		{"_class", "hudson.model.ComputerSet"},
		{"busyExecutors", len(busy)},
		{"computer", []any{v.computer()}},
		{"displayName", "Nodes"},
		{"totalExecutors", max(total, len(busy))},
	}
}

// computer is this server. A build that the caller may not see keeps its executor busy
// without a name.
func (v *view) computer() object {
	busy, n := v.ctl.Running(), v.ctl.Executors()
	for _, b := range busy {
		n = max(n, b.Executor+1) // there were more executors when it was started
	}
	executors := make([]any, n)
	for i := range executors {
		executors[i] = v.executor(i, nil)
	}
	for _, b := range busy {
		executors[b.Executor] = v.executor(b.Executor, &b)
	}
	return object{
		{"_class", "hudson.model.Hudson$MasterComputer"},
		{"actions", []any{}},
		{"assignedLabels", []any{object{{"name", "built-in"}}}},
		{"description", "the built-in node"},
		{"displayName", v.displayName()},
		{"executors", executors},
		{"icon", "symbol-computer"},
		{"idle", len(busy) == 0},
		{"jnlpAgent", false},
		{"launchSupported", true},
		{"manualLaunchAllowed", true},
		{"numExecutors", v.ctl.Executors()},
		{"offline", v.ctl.ShuttingDown()},
		{"offlineCause", nil},
		{"offlineCauseReason", ""},
		{"oneOffExecutors", v.oneOffExecutors()},
		{"temporarilyOffline", false},
	}
}

// displayName is the name of this server as clients and people see it.
func (v *view) displayName() string {
	if name := v.ctl.Name(); name != buildtoken.DefaultNode {
		return name
	}
	return "Built-In Node"
}

// oneOffExecutors are the remote builds, which take no executor.
func (v *view) oneOffExecutors() []any {
	list := []any{}
	for i, b := range v.ctl.RunningRemote() {
		list = append(list, v.executor(i, &b))
	}
	return list
}

// executor is one executor; b is the build that it runs, nil if it is idle.
func (v *view) executor(number int, b *queue.Build) object {
	var executable any
	if b != nil && v.readable(b.Item.Job) {
		executable = link{
			brief: object{
				{"_class", classBuild},
				{"number", b.Number},
				{"url", v.buildURL(b.Item.Job, b.Number)},
				{"fullDisplayName", web.Displayed(b.Item.Job) + " #" + strconv.FormatInt(b.Number, 10)},
			},
			full: func() object { return v.build(*b) },
		}
	}
	return object{
		{"currentExecutable", executable},
		{"idle", b == nil},
		{"likelyStuck", false},
		{"number", number},
		{"progress", v.progress(b)},
	}
}

func (v *view) readable(full string) bool {
	_, ours := v.d.Job(full)
	return ours && v.r.MayRead(full)
}

// progress is how far a build is, in percent of what it is expected to take; -1 if that
// is not known.
func (v *view) progress(b *queue.Build) int {
	if b == nil || !v.readable(b.Item.Job) {
		return -1
	}
	expected := v.estimate(b.Item.Job)
	if expected <= 0 {
		return -1
	}
	return int(min(v.now.Sub(b.Started)*100/expected, 99))
}
