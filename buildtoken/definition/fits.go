package definition

import (
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// maxSmall is the maximum length of a small value, in bytes. Nearly all builds
// have small values only. If a job could be started with the largest of them,
// it can be started with all: most triggers need not compute an environment.
const maxSmall = 4 << 10

// small reports whether root and all values are small.
func small(root string, values []job.Value) bool {
	if len(root) > maxSmall {
		return false
	}
	for i := range values {
		if len(values[i].Text) > maxSmall || strings.Contains(values[i].Text, "\x00") {
			return false
		}
	}
	return true
}

// Fits returns an error if the runner could not start a build with these
// values. root is the URL under which the trigger came. A runner that is not a
// [runner.Sizer] takes all values.
func (c *Compiled) Fits(root string, values []job.Value) error {
	if small(root, values) && c.fitsSmall() {
		return nil
	}
	return c.fits(root, values)
}

func (c *Compiled) fits(root string, values []job.Value) error {
	sizer, ok := c.Runner.(runner.Sizer)
	if !ok {
		return nil
	}
	b := runner.Describe(c.Job, queue.Build{Item: queue.Item{Root: root}}, values, runner.Place{})
	return sizer.Fits(b.Env, b.Params)
}

// fitsLargestSmall reports whether a build fits whose values are the largest small ones. For
// other systems, what a value holds counts as well.
func (c *Compiled) fitsLargestSmall() bool {
	if c.Remote() {
		return false
	}
	largest := strings.Repeat("x", maxSmall)
	values := make([]job.Value, len(c.Params))
	for i, p := range c.Params {
		values[i] = job.Value{Name: p.Name, Kind: p.Kind, Text: largest}
	}
	return c.fits(largest, values) == nil
}
