package jenkinsimport

import (
	"slices"
	"strings"

	"github.com/buildtoken/buildtoken/caddy-module/jenkinshome"
)

const (
	here      = "here"
	inJenkins = "jenkins"
)

const pipeline = "flow-definition"

// kinds are the root elements of jobs that never run here, and why.
var kinds = map[string]string{
	"matrix-project":                       "a matrix project runs one build for each combination of its axes, which is not supported",
	"maven2-moduleset":                     "a Maven project is not supported; a freestyle job with a shell step that runs mvn is",
	"com.cloudbees.plugins.flow.BuildFlow": "a build flow is not supported",
	"hudson.model.ExternalJob":             "an external job only records what ran elsewhere",
	"org.jenkinsci.plugins.workflow.multibranch.WorkflowMultiBranchProject": "a multibranch project makes jobs of branches; only those that Jenkins has made are listed",
	"jenkins.branch.OrganizationFolder":                                     "an organization folder makes jobs of repositories; only those that Jenkins has made are listed",
}

// relayable reports whether a job with this root element can be triggered in Jenkins. That of an
// unknown plugin usually can.
func relayable(root string) bool {
	return !slices.Contains([]string{
		"hudson.model.ExternalJob", "org.jenkinsci.plugins.workflow.multibranch.WorkflowMultiBranchProject", "jenkins.branch.OrganizationFolder",
	}, root)
}

// isFolder reports whether a root element is that of a folder.
func isFolder(root string) bool { return root == "com.cloudbees.hudson.plugins.folder.Folder" }

// foreign gives the reason why a job that is no freestyle job does not run here.
func (c *conversion) foreign() {
	switch reason := kinds[c.root.Name]; {
	case c.root.Name == pipeline:
		c.pipeline()
	case reason != "":
		c.stop(c.root, "%s", reason)
	default:
		c.stop(c.root, "a job of the class %s is not supported", c.root.Name)
	}
}

// pipeline keeps the script of a pipeline with the scripts of other jobs.
func (c *conversion) pipeline() {
	definition := c.root.Take("definition")
	switch class := textClass(definition); {
	case strings.HasSuffix(class, ".CpsFlowDefinition"):
		name := c.path("jobs", c.job.FullName, ".Jenkinsfile")
		c.entry.kept = append(c.entry.kept, File{Path: name, Text: definition.TakeText("script")})
		c.stop(definition, "a pipeline is not supported; its script is in %s", name)
	case strings.HasSuffix(class, ".CpsScmFlowDefinition"):
		url := ""
		if remotes := definition.Take("scm").Take("userRemoteConfigs").TakeAll(); len(remotes) > 0 {
			url = " of " + shownURL(strings.TrimSpace(remotes[0].TakeText("url")))
		}
		c.stop(definition, "a pipeline is not supported; its script is %s%s", definition.TakeText("scriptPath"), url)
	default:
		c.stop(c.root, "a pipeline is not supported")
	}
}

func textClass(e *jenkinshome.Element) string {
	if e == nil {
		return ""
	}
	return e.Class
}

// relay makes a job that triggers the one in Jenkins.
func (c *conversion) relay() {
	c.entry.RunsIn = inJenkins
	for _, r := range c.reasons {
		c.entry.note(r.Element, "the job runs in Jenkins: %s", r.Text)
	}
	c.job.Files = slices.DeleteFunc(c.job.Files, func(f File) bool { return !f.Secret }) // no scripts
	c.relayedParams()
	s := &c.job.Settings
	s.Timeout, s.Env, s.Dir, s.Label = nil, nil, nil, nil
	c.job.Run, c.job.Poll, c.job.Schedules = nil, nil, nil
	c.job.Relay = &Relay{URL: c.options.Relay, Job: c.job.FullName}
	if c.secret != "" {
		c.job.Relay.Token = c.job.Token
		if c.entry.Token != TokenFile {
			c.job.Relay.Token = c.secretFile()
		}
	}
	triggers := c.root.Take("triggers").Peek()
	for _, property := range c.root.Take("properties").Peek() { // where pipelines have them
		triggers = append(triggers, property.Take("triggers").Peek()...)
	}
	for _, t := range triggers {
		c.note(t, "Jenkins goes on to start builds by itself")
	}
}

// folder reports on a folder, which stands in the Caddyfile if there are jobs in it.
func (im *importer) folder(item jenkinshome.Item) {
	e := &Entry{Job: item.FullName, Kind: item.Config.Name, Source: item.Source, Status: Imported, Notes: []Note{}, Reasons: []Note{}, Files: []string{}}
	for _, ignored := range []string{"actions", "icon", "healthMetrics"} {
		item.Config.Take(ignored).TakeWhole()
	}
	if views := item.Config.Take("folderViews"); !slices.ContainsFunc(views.Take("views").Peek(), func(view *jenkinshome.Element) bool { return view.Name != "hudson.model.AllView" }) {
		views.TakeWhole() // what every folder has
	}
	item.Config.Take("properties")
	for _, left := range item.Config.Left() {
		if left.Name == "description" {
			e.note("description", "a folder has no description here: %s", left.Text)
			continue
		}
		e.note(left.Path(), "%s", meaning(left))
	}
	if len(e.Notes) > 0 {
		e.Status = ImportedWithNotes
	}
	im.plan.Report.Folders = append(im.plan.Report.Folders, e)
}
