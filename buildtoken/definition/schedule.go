package definition

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/schedule"
)

// ScheduleSpec starts builds of a job, or polls it, at certain times.
type ScheduleSpec struct {
	// Spec is the times, in the syntax of package schedule.
	Spec string
	// Zone is the name of the time zone of the times; empty means the server's.
	Zone string
	// Params are parameters of the builds by name; the others have their defaults.
	Params map[string]string
	// Poll polls the job instead of building it.
	Poll bool
	// CatchUp makes up for times that were missed in the last 24 hours, with one build.
	CatchUp bool
}

// Schedule is a compiled [ScheduleSpec].
type Schedule struct {
	schedule.Schedule
	Spec ScheduleSpec
	// Values are those of all parameters of the job.
	Values []job.Value
}

// NextScheduled returns the next time after now at which a schedule starts a build or a
// poll of the job. It reports false if the job has no schedule or is disabled.
func (j *Compiled) NextScheduled(now time.Time) (next time.Time, ok bool) {
	if j.Disabled {
		return next, false
	}
	for _, s := range j.Schedules {
		if at, found := s.Next(now); found && (!ok || at.Before(next)) {
			next, ok = at, true
		}
	}
	return next, ok
}

// schedules compiles the schedules of a job.
func (c *compiler) schedules(full string, j Job) []Schedule {
	var all []Schedule
	for _, spec := range j.Schedules {
		s, err := CompileSchedule(full, spec, j.Params, j.Poller != nil)
		if err != nil {
			c.fail(full, err)
			continue
		}
		all = append(all, s)
	}
	return all
}

// CompileSchedule checks and compiles a schedule of a job with these parameters.
// pollable is whether the job can be polled.
func CompileSchedule(full string, spec ScheduleSpec, params []job.Param, pollable bool) (Schedule, error) {
	s := Schedule{Spec: spec}
	zone, zoned := time.Local, spec.Zone != ""
	var err error
	if zoned {
		if zone, err = schedule.Zone(spec.Zone); err != nil {
			return s, err
		}
	}
	if s.Schedule, err = schedule.Parse(spec.Spec, full, zone, zoned); err != nil {
		return s, err
	}
	if spec.Poll {
		switch {
		case !pollable:
			return s, errors.New("schedule: poll: the job has no poll directive")
		case len(spec.Params) > 0:
			return s, errors.New("schedule: param: a poll has no parameters")
		}
		return s, nil
	}
	given := map[string][]string{}
	for name, value := range spec.Params {
		at := slices.IndexFunc(params, func(p job.Param) bool { return p.Name == name })
		if at < 0 {
			return s, fmt.Errorf("schedule: param %s: %w", name, noParam(params))
		}
		if params[at].Kind == job.KindFile {
			return s, fmt.Errorf("schedule: param %s: a schedule has no file", name)
		}
		given[name] = []string{value}
	}
	j := job.Job{FullName: full, Params: params}
	if s.Values, err = j.Values(given, nil); err != nil {
		return s, fmt.Errorf("schedule: %w", err)
	}
	return s, nil
}
