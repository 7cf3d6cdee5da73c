package buildtoken

import (
	"net/url"
	"strconv"
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// place is where a build runs.
type place struct{ node, workspace string }

// environment is what every build finds, as NAME=value. Later ones win: what
// every build has, what folders and the job set, the parameters.
func environment(j *definedJob, b queue.Build, values []job.Value, at place) []string {
	full := j.FullName
	number := strconv.FormatInt(b.Number, 10)
	jobAt := jobURL(b.Item.Root, full)
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
		"NODE_NAME=" + at.node,
		"EXECUTOR_NUMBER=" + strconv.Itoa(b.Executor),
		"WORKSPACE=" + at.workspace,
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
	return oneLine(strings.Join(all, ", "), maxCausesText)
}

func escape(segment string) string { return url.PathEscape(segment) }
