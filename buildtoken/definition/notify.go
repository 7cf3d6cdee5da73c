package definition

import (
	"errors"
	"fmt"
	"slices"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/notify"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// NotifySpec is a receiver of notifications about the builds of a job, or of all jobs below
// a folder.
type NotifySpec struct {
	Name string
	// On are the conditions under which it is notified. None means failure and fixed.
	On []queue.Condition
	To notify.Receiver
}

// defaultConditions returns when a receiver without conditions is notified.
func defaultConditions() []queue.Condition {
	return []queue.Condition{queue.OnFailure, queue.OnFixed}
}

// Notify is a compiled [NotifySpec].
type Notify struct {
	// Target is the name behind the full name of the job or folder that has it, so that it
	// is unique: "ops" at the top level, "site/ops" in the folder site.
	Target string
	On     []queue.Condition
	To     notify.Receiver
}

// notifies adds those of a folder or job to what it inherits.
func (c *compiler) notifies(full string, specs []NotifySpec, outer []Notify) []Notify {
	all := slices.Clone(outer)
	for i, spec := range specs {
		err := token.CheckName(spec.Name)
		if slices.ContainsFunc(specs[:i], func(other NotifySpec) bool { return other.Name == spec.Name }) {
			err = errors.New("there are two of this name")
		}
		for _, on := range spec.On {
			if !slices.Contains(queue.Conditions(), on) {
				err = errors.Join(err, fmt.Errorf("on: %q is no condition", on))
			}
		}
		if err != nil {
			c.fail(full, fmt.Errorf("notify %s: %w", spec.Name, err))
			continue
		}
		n := Notify{Target: job.Join(full, spec.Name), On: spec.On, To: spec.To}
		if len(n.On) == 0 {
			n.On = defaultConditions()
		}
		all = append(all, n)
	}
	return all
}

// checkNotify refuses references to passwords, which no address may contain, and references
// of the job's own receivers to parameters that the job does not have. What a folder sends is
// for jobs with different parameters: where one is missing, there is nothing to send.
func (c *compiler) checkNotify(full string, j Job, all []Notify) {
	for _, n := range all {
		r, refers := n.To.(referrer)
		if !refers {
			continue
		}
		own := slices.ContainsFunc(j.Notify, func(spec NotifySpec) bool { return job.Join(full, spec.Name) == n.Target })
		for _, name := range r.Params() {
			at := slices.IndexFunc(j.Params, func(p job.Param) bool { return p.Name == name })
			switch {
			case at < 0 && own:
				c.fail(full, fmt.Errorf("notify %s: {param.%s}: %w", n.Target, name, noParam(j.Params)))
			case at >= 0 && j.Params[at].Kind == job.KindPassword:
				c.fail(full, fmt.Errorf("notify %s: {param.%s}: a password cannot be part of an address, which others can see", n.Target, name))
			}
		}
	}
}
