package jenkinsimport

import (
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/caddy-module/jenkinshome"
)

// freestyle reads what a freestyle job does.
func (c *conversion) freestyle() {
	c.node()
	c.workspace()
	c.environment(c.root.Take("properties").Take("EnvInjectJobProperty"))
	prepare := c.wrappers()
	checkout := c.scm()
	steps := c.steps(checkout)
	c.triggers(checkout)
	for _, ignored := range []string{"jdk", "scmCheckoutRetryCount"} {
		if e := c.root.Take(ignored); e != nil && ignored == "jdk" && !strings.HasPrefix(e.Text, "(") && e.Text != "default" {
			c.note(e, "Jenkins sets JAVA_HOME and PATH for the JDK %s; set them with env", e.Text)
		}
	}
	for _, blocking := range []string{"blockBuildWhenDownstreamBuilding", "blockBuildWhenUpstreamBuilding"} {
		if e := c.root.Take(blocking); e != nil && e.Text == "true" {
			c.note(e, "builds do not wait for those of other jobs here")
		}
	}
	for _, publisher := range c.root.Take("publishers").Peek() {
		if strings.Contains(strings.ToLower(publisher.Name), "unstable") {
			c.note(publisher, "it can change the result of builds in Jenkins, and does not here")
		}
	}
	c.ownParams()
	if len(c.reasons) == 0 {
		if checkout != nil {
			prepare = checkout.prepare(prepare)
		}
		c.scripts(prepare, steps)
	}
}

// node reads where the job may run.
func (c *conversion) node() {
	label := c.root.Take("assignedNode")
	c.root.Take("canRoam")
	c.root.Take("advancedAffinityChooser").TakeWhole()
	if label == nil {
		return
	}
	text := strings.Trim(strings.TrimSpace(label.Text), `"`)
	switch {
	case text == "" || text == "master" || text == "built-in":
	case job.CheckLabel(text) != nil:
		c.stop(label, "%q is an expression of labels, which is not supported", text)
	case slices.Contains(c.builtIn, text):
		c.job.Settings.Label = &text
		if !slices.Contains(c.plan.Labels, text) {
			c.plan.Labels = append(c.plan.Labels, text)
		}
	case c.options.Relay != "":
		c.stop(label, "its builds run where the label %s is, and this server does not have it", text)
	default:
		c.job.Settings.Label = &text
		c.note(label, "the builds wait until a server has the label %s; add it to the global option where they can run: node NAME { labels %[1]s }", text)
	}
}

func (c *conversion) workspace() {
	at := c.root.Take("customWorkspace")
	switch {
	case textOf(at) == "":
	case !filepath.IsAbs(at.Text) || strings.Contains(at.Text, "$"):
		c.stop(at, "the workspace depends on Jenkins' own directory or on variables")
	default:
		c.job.Settings.Dir = &at.Text
		c.note(at, "builds start in this directory, which must exist (Jenkins makes it), but WORKSPACE is the job's own")
	}
}

// aroundPages are the wrappers that change only what Jenkins shows.
var aroundPages = []string{
	"hudson.plugins.timestamper.TimestamperBuildWrapper",
	"hudson.plugins.ansicolor.AnsiColorBuildWrapper",
	"org.jenkinsci.plugins.buildnamesetter.BuildNameSetter",
	"org.jenkinsci.plugins.testinprogress.TestInProgressBuildWrapper",
	"org.jenkinsci.plugins.builduser.BuildUser",
}

// wipe is the line of a script that empties the workspace.
const wipe = "find . -mindepth 1 -delete || exit 1\n"

// wrappers reads what stands around the steps, and returns what a script has to do before them.
func (c *conversion) wrappers() (prepare string) {
	for _, w := range c.root.Take("buildWrappers").Peek() {
		switch {
		case w.Name == "hudson.plugins.build_timeout.BuildTimeoutWrapper":
			c.timeout(w)
		case w.Name == "EnvInjectBuildWrapper":
			c.environment(w)
		case w.Name == "EnvInjectPasswordWrapper" && w.TakeText("injectGlobalPasswords") != "true" && len(w.Take("passwordEntries").Peek()) == 0:
			w.TakeWhole() // it only hides passwords in the log
		case w.Name == "hudson.plugins.ws_cleanup.PreBuildCleanup" && len(w.Take("patterns").Peek()) == 0 && w.TakeText("cleanupParameter")+w.TakeText("externalDelete") == "":
			prepare = wipe
			w.TakeWhole()
		case slices.Contains(aroundPages, w.Name): // it has a note
		default:
			c.stop(w, "a build wrapper of the class %s is not supported", w.Name)
		}
	}
	return prepare
}

// minTimeout is what Jenkins makes of shorter timeouts.
const minTimeout = 3

// timeout reads the limit of the duration. Older versions have it without a strategy.
func (c *conversion) timeout(w *jenkinshome.Element) {
	w.TakeWhole()
	from := w
	if strategy := w.Take("strategy"); strategy != nil {
		if !strings.HasSuffix(strategy.Class, ".AbsoluteTimeOutStrategy") {
			c.note(strategy, "the timeout of the class %s is not supported; set timeout", strategy.Class)
			return
		}
		from = strategy
	}
	// 27 bits are 255 years, which a duration can hold.
	minutes, err := strconv.ParseUint(strings.TrimSpace(from.TakeText("timeoutMinutes")), 10, 27)
	if err != nil || minutes == 0 {
		c.note(w, "the minutes of the timeout are no number; set timeout")
		return
	}
	limit := time.Duration(max(minutes, minTimeout)) * time.Minute
	c.job.Settings.Timeout = &limit
	for _, operation := range w.Take("operationList").Peek() {
		if !strings.HasSuffix(operation.Name, ".AbortOperation") {
			c.note(operation, "a build that takes too long ends as ABORTED here")
		}
	}
	if w.TakeText("failBuild") == "true" {
		c.note(w, "a build that takes too long ends as ABORTED here, not as FAILURE")
	}
}

// environment reads the variables of a property or a wrapper of the EnvInject plugin.
func (c *conversion) environment(property *jenkinshome.Element) {
	property.TakeWhole()
	if property.TakeText("on") == "false" {
		return
	}
	info := property.Take("info")
	for _, source := range []string{"propertiesFilePath", "scriptFilePath", "scriptContent", "groovyScriptContent", "secureGroovyScript", "loadFilesFromMaster"} {
		part := info.Take(source)
		if script := part.Take("script"); script != nil {
			part = script
		}
		if text := strings.TrimSpace(textOf(part)); text != "" && text != "false" {
			c.stop(part, "variables that a file or a script sets are not supported")
		}
	}
	content := info.Take("propertiesContent")
	if content == nil {
		return
	}
	for line := range strings.Lines(content.Text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == '!' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if !ok || !variable.MatchString(name) || strings.ContainsAny(value, `$\`) {
			c.stop(content, "the line for %q is not a plain NAME=value", name)
		}
		setVariable(&c.job.Settings, name, value)
	}
}

// variable matches the names of variables that are imported.
var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// setVariable sets a variable in the environment of builds. The last value of a name counts.
func setVariable(s *job.Settings, name, value string) {
	s.Env = slices.DeleteFunc(s.Env, func(v job.Var) bool { return v.Name == name })
	s.Env = append(s.Env, job.Var{Name: name, Value: value})
}
