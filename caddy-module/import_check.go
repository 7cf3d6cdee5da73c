package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/runner/jenkinsrunner"
	"github.com/buildtoken/buildtoken/caddy-module/jenkinsimport"
)

// checkPlan adapts the Caddyfile of an import and compares the result with what was meant. A
// text of Jenkins can have something that Caddy replaces, such as {path}, or that a Caddyfile
// cannot hold. Such a job is found because each is adapted alone first: it loses its
// descriptions if they are the reason, else it is left out.
func checkPlan(plan *jenkinsimport.Plan) error {
	for _, j := range slices.Clone(plan.Jobs) {
		err := checkJobs(plan, plan.CaddyfileOf(j), []jenkinsimport.Job{j})
		if err == nil {
			continue
		}
		bare := j.Bare("the descriptions are left away: " + err.Error())
		if checkJobs(plan, plan.CaddyfileOf(bare), []jenkinsimport.Job{bare}) != nil {
			plan.LeaveOut(j.FullName, err.Error())
			continue
		}
		plan.Replace(bare)
	}
	return checkJobs(plan, plan.Caddyfile(), plan.Jobs)
}

// checkJobs compares a Caddyfile with the jobs that it is to have.
func checkJobs(plan *jenkinsimport.Plan, text string, jobs []jenkinsimport.Job) error {
	for _, j := range jobs {
		if err := checkReplaced(j); err != nil {
			return err
		}
	}
	if strings.Contains(text, "{$") {
		return errors.New("it has {$, which Caddy replaces in Caddyfiles")
	}
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": caddyfileFile})
	if err != nil {
		return fmt.Errorf("Caddy does not accept it: %w", err) //nolint:staticcheck // a name
	}
	got, err := adapted(config)
	if err != nil {
		return err
	}
	meant := meantFolder(plan, jobs)
	want, err := decoded(&Handler{Scope: meant.Scope, Folders: meant.Folders, Jobs: meant.Jobs})
	if err != nil {
		return fmt.Errorf("encode the jobs: %w", err)
	}
	if path := difference("", want, got); path != "" {
		return fmt.Errorf("a Caddyfile cannot hold its %s, because Caddy would replace a part of it", placeInJob.ReplaceAllString(path, ""))
	}
	return nil
}

// placeInJob matches what stands before the fields of a job in a path.
var placeInJob = regexp.MustCompile(`^(?:folders/\d+/)*jobs/\d+/`)

// checkReplaced returns an error if a text of Jenkins stands where placeholders are replaced,
// and has some.
func checkReplaced(j jenkinsimport.Job) error {
	texts := map[string]string{}
	for _, v := range j.Settings.Env {
		texts["the variable "+v.Name] = v.Value
	}
	if j.Settings.Dir != nil {
		texts["its directory"] = *j.Settings.Dir
	}
	for _, c := range []*jenkinsimport.Command{j.Run, j.Poll} {
		if c != nil {
			texts["a command"] += strings.Join(c.Words, "\n") + "\n"
		}
	}
	if j.Relay != nil {
		texts["its name in Jenkins"] = j.Relay.Job
		if _, err := jenkinsrunner.New(jenkinsrunner.Config{URL: j.Relay.URL, Job: j.Relay.Job}); err != nil {
			return err //nolint:wrapcheck // the error is clear
		}
	}
	for _, what := range slices.Sorted(maps.Keys(texts)) {
		text := texts[what]
		if replaced, err := (placeholders{}).replace(text); err != nil || replaced != text || strings.Contains(text, "{param.") {
			return fmt.Errorf("%s has a placeholder, which would be replaced here", what) // its value may be secret
		}
	}
	return nil
}

// adapted returns the jobs of the directive in an adapted Caddyfile, decoded.
func adapted(config []byte) (any, error) {
	var whole any
	if err := json.Unmarshal(config, &whole); err != nil {
		return nil, fmt.Errorf("read the adapted Caddyfile: %w", err)
	}
	handler := findHandler(whole)
	if handler == nil {
		return nil, errors.New("the adapted Caddyfile has no build_token")
	}
	delete(handler, "handler")
	delete(handler, "warnings")
	delete(handler, "lines")
	return handler, nil
}

// findHandler returns the first handler of this module.
func findHandler(in any) map[string]any {
	switch in := in.(type) {
	case map[string]any:
		if in["handler"] == "build_token" {
			return in
		}
		for _, part := range in {
			if found := findHandler(part); found != nil {
				return found
			}
		}
	case []any:
		for _, part := range in {
			if found := findHandler(part); found != nil {
				return found
			}
		}
	}
	return nil
}

func decoded(v any) (value any, err error) {
	text, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(text, &value)
	}
	return value, err //nolint:wrapcheck // the caller does
}

// difference returns the path of the first difference between two decoded values, "" for none.
func difference(path string, want, got any) string {
	if reflect.DeepEqual(want, got) {
		return ""
	}
	switch want := want.(type) {
	case map[string]any:
		got, ok := got.(map[string]any)
		all := maps.Clone(want)
		maps.Copy(all, got)
		for _, name := range slices.Sorted(maps.Keys(all)) {
			if found := difference(path+"/"+name, want[name], got[name]); ok && found != "" {
				return found
			}
		}
	case []any:
		got, _ := got.([]any)
		for i := range want {
			if i < len(got) {
				if found := difference(fmt.Sprintf("%s/%d", path, i), want[i], got[i]); found != "" {
					return found
				}
			}
		}
	}
	return strings.TrimPrefix(path, "/")
}

// meantFolder returns the jobs of a plan as the configuration has them.
func meantFolder(plan *jenkinsimport.Plan, jobs []jenkinsimport.Job) Folder {
	root := Folder{Scope: meantScope(plan.Settings, "")}
	for _, j := range jobs {
		in := &root
		if folder := j.Folder(); folder != "" {
			for name := range strings.SplitSeq(folder, "/") {
				at := slices.IndexFunc(in.Folders, func(f Folder) bool { return f.Name == name })
				if at < 0 {
					at = len(in.Folders)
					in.Folders = append(in.Folders, Folder{Name: name})
				}
				in = &in.Folders[at]
			}
		}
		in.Jobs = append(in.Jobs, meantJob(j))
	}
	return root
}

func meantScope(s job.Settings, secret string) Scope {
	scope := Scope{QuietPeriod: (*caddy.Duration)(s.QuietPeriod), Timeout: (*caddy.Duration)(s.Timeout), KeepBuilds: s.KeepBuilds}
	for _, v := range s.Env {
		if scope.Env == nil {
			scope.Env = map[string]string{}
		}
		scope.Env[v.Name] = v.Value
	}
	if s.Dir != nil {
		scope.Dir = *s.Dir
	}
	if s.Label != nil {
		scope.Label = *s.Label
	}
	if secret != "" {
		scope.Tokens = []Token{{Secret: secret}}
	}
	return scope
}

func meantJob(j jenkinsimport.Job) Job {
	meant := Job{
		Name: j.Name(), Description: j.Description, Disabled: j.Disabled, Concurrent: j.Concurrent,
		Scope: meantScope(j.Settings, j.Token), Params: j.Params,
	}
	for _, s := range j.Schedules {
		meant.Schedules = append(meant.Schedules, Schedule{Spec: s.Spec, Poll: s.Poll})
	}
	if c := j.Run; c != nil {
		meant.RunRaw = caddyconfig.JSONModuleObject(Exec{Command: c.Words[0], Args: c.Words[1:], Unstable: c.Unstable}, "runner", "exec", nil)
	}
	if r := j.Relay; r != nil {
		meant.RunRaw = caddyconfig.JSONModuleObject(JenkinsRunner{
			URL: r.URL, Job: r.Job, User: jenkinsimport.RelayUser, APIToken: jenkinsimport.RelayAPIToken, JobToken: r.Token,
		}, "runner", "jenkins", nil)
	}
	if c := j.Poll; c != nil {
		meant.PollRaw = caddyconfig.JSONModuleObject(Exec{Command: c.Words[0], Args: c.Words[1:]}, "poller", "exec", nil)
	}
	return meant
}
