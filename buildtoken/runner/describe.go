package runner

import (
	"slices"
	"strconv"
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// Place is where a build runs.
type Place struct {
	// Node is the name of the server, Workspace the absolute path of the build's directory.
	Node, Workspace string
}

// Describe returns a build of a job as its runner sees it. The paths of
// uploaded files are not known yet.
func Describe(j *job.Job, b queue.Build, values []job.Value, at Place) Build {
	described := Build{
		Job: b.Item.Job, Number: b.Number, QueueID: b.Item.ID,
		Env: environment(j, b, values, at), Params: params(j, values), Workspace: at.Workspace,
	}
	if j.Settings.Dir != nil {
		described.Dir = *j.Settings.Dir
	}
	return described
}

// params returns the values as a runner gets them, in their order, followed by
// the file parameters that the trigger did not set, empty, so that an argument
// can refer to them.
func params(j *job.Job, values []job.Value) []Param {
	all := make([]Param, len(values), len(values)+len(j.Params))
	for i, v := range values {
		all[i] = Param{Name: v.Name, Value: v.Text, Secret: v.Kind == job.KindPassword}
	}
	for _, p := range j.Params {
		if p.Kind == job.KindFile && !slices.ContainsFunc(values, func(v job.Value) bool { return v.Name == p.Name }) {
			all = append(all, Param{Name: p.Name})
		}
	}
	return all
}

// environment returns the variables of every build as NAME=value. Later ones
// win: those that every build has, those of folders and the job, the parameters.
func environment(j *job.Job, b queue.Build, values []job.Value, at Place) []string {
	full := j.FullName
	number := strconv.FormatInt(b.Number, 10)
	jobAt := job.URL(b.Item.Root, full)
	env := []string{
		"CI=true",
		"JOB_NAME=" + full,
		"JOB_BASE_NAME=" + j.Name(),
		"JOB_URL=" + jobAt,
		"BUILD_NUMBER=" + number,
		"BUILD_ID=" + number,
		"BUILD_DISPLAY_NAME=#" + number,
		"BUILD_TAG=buildtoken-" + strings.ReplaceAll(full, "/", "-") + "-" + number,
		"BUILD_URL=" + jobAt + number + "/",
		"BUILD_CAUSE=" + causes(b.Item),
		"QUEUE_ID=" + strconv.FormatInt(b.Item.ID, 10),
		"NODE_NAME=" + at.Node,
		"EXECUTOR_NUMBER=" + strconv.Itoa(b.Executor),
		"WORKSPACE=" + at.Workspace,
	}
	if b.Item.Trace != "" {
		env = append(env, "TRACEPARENT="+b.Item.Trace)
	}
	if b.Item.Root == "" { // unknown for a build that no request started, unless it is configured
		env = slices.DeleteFunc(env, func(v string) bool { return strings.HasPrefix(v, "JOB_URL=") || strings.HasPrefix(v, "BUILD_URL=") })
	}
	for _, v := range j.Settings.Env {
		env = append(env, v.Name+"="+v.Value)
	}
	for _, v := range values {
		env = append(env, v.Name+"="+v.Text)
	}
	return env
}

// maxCausesText bounds BUILD_CAUSE, in bytes: an environment variable has a
// limit, and fifty causes of a thousand bytes would come near it.
const maxCausesText = 8 << 10

func causes(it queue.Item) string {
	all := make([]string, len(it.Causes))
	for i, c := range it.Causes {
		all[i] = c.String()
	}
	return queue.OneLine(strings.Join(all, ", "), maxCausesText)
}
