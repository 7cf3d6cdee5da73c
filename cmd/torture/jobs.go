package main

import (
	"strings"
	"time"
)

// job is a job of the harness, and what it knows of it.
type job struct {
	name   string
	params []param
	// alone is set for jobs that never run two builds at a time, under any configuration.
	alone bool
	// options are lines of the Caddyfile that every configuration has.
	options []string
	quiet   time.Duration
	// keep is how many ended builds and cancelled items are kept.
	keep int
	// toggled is set for jobs that reloads disable and make concurrent.
	toggled bool
	polled  bool
	// The behaviour of a build: how long it takes, whether it ignores SIGTERM, how it ends.
	work     time.Duration
	stubborn bool
	exit     int
	// label is that of the servers which can build it, "" for all. rare is in how many of 100
	// cases the job is triggered when it is picked; 0 means always.
	label string
	rare  int
}

// param is a parameter with the values that are tried.
type param struct {
	name, kind string
	values     []string // the first is the default
}

// secret opens every job.
const secret = "torture-secret"

// keepBuilds is more than the number of builds that end between two full checks.
const keepBuilds = 300

// keepFew makes retention drop records all the time.
const keepFew = 4

func jobs() []*job {
	all := []*job{
		{name: "plain", alone: true, quiet: 150 * time.Millisecond, work: 30 * time.Millisecond},
		{
			name: "deploy", alone: true, quiet: 80 * time.Millisecond, work: 15 * time.Millisecond,
			params: []param{
				{"VERSION", "string", []string{"v0", "v1", "a b", "ü/%\"'$x"}},
				{"MODE", "choice", []string{"fast", "slow"}},
				{"LOUD", "boolean", []string{"false", "true"}},
			},
		},
		{name: "wide", options: []string{"concurrent"}, work: 50 * time.Millisecond, params: []param{
			{"VERSION", "string", []string{"", "1", "2", "3", "4", "5", "6", "7"}},
		}},
		{name: "each", options: []string{"concurrent", "coalesce never"}, quiet: 50 * time.Millisecond, work: 5 * time.Millisecond},
		{name: "team/app/stubborn", options: []string{"concurrent"}, work: 1200 * time.Millisecond, stubborn: true},
		{name: "team/long", alone: true, options: []string{"coalesce never"}, work: 900 * time.Millisecond},
		{name: "team/few", options: []string{"coalesce never"}, alone: true, keep: keepFew, work: time.Millisecond},
		{name: "team/fails", options: []string{"concurrent"}, quiet: 20 * time.Millisecond, work: 10 * time.Millisecond, exit: 3},
		{name: "toggled", quiet: 100 * time.Millisecond, toggled: true, work: 40 * time.Millisecond, params: []param{
			{"VERSION", "text", []string{"x", "y", "line\nline"}},
		}},
		{name: "polled", quiet: 30 * time.Millisecond, alone: true, polled: true, work: 20 * time.Millisecond},
	}
	for _, j := range all {
		if j.keep == 0 {
			j.keep = keepBuilds
		}
	}
	return all
}

// path returns the job's path in Jenkins' URLs.
func (j *job) path() string { return "/job/" + strings.ReplaceAll(j.name, "/", "/job/") }

// values returns a value for each parameter. said are those that the trigger contains; the
// others are left to their defaults.
func (j *job) values(d dice) (said, all map[string]string) {
	said, all = map[string]string{}, map[string]string{}
	for _, p := range j.params {
		value := p.values[0]
		if d.chance(70) {
			value = pick(d, p.values)
			said[p.name] = value
		}
		all[p.name] = value
	}
	return said, all
}
