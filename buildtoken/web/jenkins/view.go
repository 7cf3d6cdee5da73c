package jenkins

import (
	"context"
	"net/url"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// view makes the objects of the remote API as one caller may see them, at one instant.
type view struct {
	r    *reader
	ctl  *buildtoken.Controller
	d    *definition.Site
	root string
	now  time.Time
	// err is the first error; objects that were made after it are not complete.
	err error
	// What was found once is kept: the summaries of jobs, when a build will end, and the
	// heads of queues.
	overviews map[string]queue.Overview
	etas      map[buildOf]string
	lanes     map[string]queue.Lane
	// listed are jobs whose summaries were not read yet.
	listed []string
	// total is how many items there are, if they were counted.
	total int
}

func (r *reader) view() (*view, error) {
	ctl, err := r.Controller()
	if err != nil {
		return nil, err
	}
	return &view{
		r: r, ctl: ctl, d: r.Definition, root: r.Root(), now: time.Now(), overviews: map[string]queue.Overview{},
		etas: map[buildOf]string{}, lanes: map[string]queue.Lane{},
	}, nil
}

// buildOf is one build of a job.
type buildOf struct {
	job    string
	number int64
}

func (v *view) ctx() context.Context { return v.r.R.Context() }

// note keeps the first error.
func (v *view) note(err error) {
	if v.err == nil {
		v.err = err
	}
}

// Names of Jenkins' classes, which clients look at.
const (
	classJob    = "hudson.model.FreeStyleProject"
	classBuild  = "hudson.model.FreeStyleBuild"
	classFolder = "com.cloudbees.hudson.plugins.folder.Folder"
	classView   = "hudson.model.AllView"
)

func (v *view) jobURL(full string) string { return web.JobURL(v.root, full) }

// orNull is null for an empty text.
func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// site is the root of everything.
func (v *view) site() object {
	all := v.allView(v.root)
	return object{
		{"_class", "hudson.model.Hudson"},
		{"assignedLabels", []any{object{{"name", "built-in"}}}},
		{"mode", "NORMAL"},
		{"nodeDescription", "the built-in node"},
		{"nodeName", ""},
		{"numExecutors", v.ctl.Executors()},
		{"description", nil},
		{"jobs", v.children("")},
		{"overallLoad", object{}},
		{"primaryView", all},
		{"quietDownReason", nil},
		{"quietingDown", v.ctl.ShuttingDown()},
		{"slaveAgentPort", -1},
		{"unlabeledLoad", object{{"_class", "jenkins.model.UnlabeledLoadStatistics"}}},
		{"url", v.root},
		{"useCrumbs", false},
		{"useSecurity", true},
		{"views", []any{all}},
	}
}

func (v *view) allView(at string) object {
	return object{{"_class", classView}, {"name", "all"}, {"url", at}}
}

// folder is a folder with what is in it.
func (v *view) folder(full string) object {
	_, name := job.Split(full)
	at := v.jobURL(full)
	all := v.allView(at)
	return object{
		{"_class", classFolder},
		{"actions", []any{}},
		{"description", nil},
		{"displayName", name},
		{"displayNameOrNull", nil},
		{"fullDisplayName", web.Displayed(full)},
		{"fullName", full},
		{"name", name},
		{"url", at},
		{"healthReport", []any{}},
		{"jobs", v.children(full)},
		{"primaryView", all},
		{"views", []any{all}},
	}
}

// children are the folders and jobs directly in a folder that the caller may read.
func (v *view) children(folder string) []any {
	in, _ := v.d.Tree().Folder(folder)
	all := []any{}
	for _, full := range in.Folders {
		if !v.r.MayReadSome(full) {
			continue
		}
		_, name := job.Split(full)
		all = append(all, link{
			brief: object{{"_class", classFolder}, {"name", name}, {"url", v.jobURL(full)}},
			full:  func() object { return v.folder(full) },
		})
	}
	readable := make([]string, 0, len(in.Jobs))
	for _, full := range in.Jobs {
		if v.r.MayRead(full) {
			readable = append(readable, full)
		}
	}
	lanes, err := v.ctl.Lanes(v.ctx(), readable...)
	if err != nil {
		v.note(err)
		return all
	}
	v.listed = append(v.listed, readable...)
	for i, full := range readable {
		j, _ := v.d.Tree().Job(full)
		all = append(all, v.jobLink(j, lanes[i]))
	}
	return all
}

// whoAmI is the caller.
func (v *view) whoAmI() object {
	name, authorities := v.r.User(), []string{"authenticated"}
	if name == "" {
		name, authorities = "anonymous", []string{"anonymous"}
	}
	return object{
		{"_class", "hudson.security.WhoAmI"},
		{"anonymous", v.r.User() == ""},
		{"authenticated", true},
		{"authorities", authorities},
		{"name", name},
	}
}

// me is the caller's account.
func (v *view) me() object {
	name := v.r.User()
	return object{
		{"_class", "hudson.model.User"},
		{"absoluteUrl", v.root + "user/" + url.PathEscape(name)},
		{"description", nil},
		{"fullName", name},
		{"id", name},
		{"property", []any{}},
	}
}
