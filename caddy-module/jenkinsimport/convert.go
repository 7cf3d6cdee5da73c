package jenkinsimport

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/caddy-module/jenkinshome"
)

// conversion is the import of one job.
type conversion struct {
	*importer
	root  *jenkinshome.Element
	entry *Entry
	job   Job
	// reasons are why the job cannot run here.
	reasons []Note
	params  []param
	// secret is the token if it is known.
	secret string
}

// stop records why the job cannot run here.
func (c *conversion) stop(at *jenkinshome.Element, format string, args ...any) {
	c.reasons = append(c.reasons, Note{at.Path(), fmt.Sprintf(format, args...)})
}

func (c *conversion) note(at *jenkinshome.Element, format string, args ...any) {
	c.entry.note(at.Path(), format, args...)
}

func (c *conversion) convert() error {
	if err := c.common(); err != nil {
		return err
	}
	before := len(c.entry.Notes)
	if c.root.Name == "project" || c.root.Name == "hudson.model.FreeStyleProject" {
		c.freestyle()
	} else {
		c.foreign()
	}
	if c.options.RelayAll && len(c.reasons) == 0 {
		c.reasons = append(c.reasons, Note{Text: "all jobs are relayed, as asked for"})
	}
	switch {
	case len(c.reasons) == 0:
		c.notImported()
		c.entry.RunsIn = here
	case c.options.Relay != "" && relayable(c.root.Name):
		// What Jenkins does around the build, it goes on to do.
		c.entry.Notes = c.entry.Notes[:before]
		c.relay()
	default:
		c.drop()
		return nil
	}
	c.finish()
	return nil
}

// finish adds the job to the plan, unless its name is not free.
func (c *conversion) finish() {
	if c.belowJob() {
		c.reasons = []Note{{Text: "here a job and a folder cannot have the same name"}}
		c.drop()
		return
	}
	if c.entry.Notes = compact(c.entry.Notes); len(c.entry.Notes) > 0 {
		c.entry.Status = ImportedWithNotes
	}
	for _, f := range append(slices.Clone(c.job.Files), c.entry.kept...) {
		c.entry.Files = append(c.entry.Files, f.Path)
	}
	c.taken[c.job.FullName] = true
	c.job.Entry = c.entry
	c.plan.Jobs = append(c.plan.Jobs, c.job)
}

// belowJob reports whether a folder of the job is a job of the plan: what comes from several
// places can have both. The names are sorted, so such a job is there already.
func (c *conversion) belowJob() bool {
	for folder := c.job.Folder(); folder != ""; folder, _ = job.Split(folder) {
		if c.taken[folder] {
			return true
		}
	}
	return false
}

// drop leaves the job out. The files that were kept of it stay.
func (c *conversion) drop() {
	c.entry.Status, c.entry.RunsIn, c.entry.Token, c.entry.newToken = LeftOut, "", "", ""
	c.entry.Reasons, c.entry.Notes = compact(c.reasons), []Note{} // notes are about jobs that are there
	for _, f := range c.entry.kept {
		c.entry.Files = append(c.entry.Files, f.Path)
	}
}

// compact removes notes that are there twice.
func compact(notes []Note) []Note {
	kept, seen := []Note{}, map[Note]bool{}
	for _, n := range notes {
		if !seen[n] {
			kept, seen[n] = append(kept, n), true
		}
	}
	return kept
}

// common reads what all kinds of jobs have.
func (c *conversion) common() error {
	if d := c.root.Take("description"); d != nil {
		c.job.Description = c.description(d)
	}
	if name := c.root.Take("displayName"); name != nil && name.Text != "" {
		c.note(name, "Jenkins shows the job as %q; here it has its name only", name.Text)
	}
	c.job.Disabled = c.root.TakeText("disabled") == "true"
	c.quietPeriod()
	c.concurrent()
	for _, ignored := range []string{"actions", "keepDependencies", "creationTime"} {
		c.root.Take(ignored).TakeWhole()
	}
	properties := c.root.Take("properties")
	c.keepBuilds(properties)
	c.parameters(properties)
	return c.token()
}

// description returns the text of a description that a Caddyfile can have.
func (c *conversion) description(d *jenkinshome.Element) string {
	text := strings.TrimSpace(strings.ReplaceAll(d.Text, "\r\n", "\n"))
	if strings.Contains(text, environmentOpen) {
		c.note(d, "the description is left away: it has %s, which Caddy replaces in Caddyfiles", environmentOpen)
		return ""
	}
	return text
}

// environmentOpen begins what Caddy replaces in the raw text of a Caddyfile. Nothing escapes it.
const environmentOpen = "{$"

func (c *conversion) quietPeriod() {
	q := c.root.Take("quietPeriod")
	if q == nil {
		return
	}
	seconds, err := strconv.Atoi(strings.TrimSpace(q.Text))
	if err != nil || seconds < 0 || time.Duration(seconds)*time.Second > job.MaxDelay {
		c.note(q, "%q is no number of seconds that can be used; the default applies", q.Text)
		return
	}
	quiet := time.Duration(seconds) * time.Second
	c.job.Settings.QuietPeriod = &quiet
}

// concurrent reads whether builds of the job run at a time. Pipelines do so unless a property forbids it.
func (c *conversion) concurrent() {
	given := c.root.Take("concurrentBuild")
	c.job.Concurrent = given != nil && given.Text == "true"
	if c.root.Name != pipeline {
		return
	}
	forbidden := false
	for _, property := range c.root.Take("properties").Peek() {
		if strings.HasSuffix(property.Name, ".DisableConcurrentBuildsJobProperty") {
			forbidden = true
		}
	}
	c.job.Concurrent = !forbidden && (given == nil || c.job.Concurrent)
}

// keepBuilds reads how many builds Jenkins keeps.
func (c *conversion) keepBuilds(properties *jenkinshome.Element) {
	rotator := properties.Take("jenkins.model.BuildDiscarderProperty").Take("strategy")
	if rotator == nil {
		rotator = c.root.Take("logRotator")
	}
	if rotator == nil {
		return
	}
	rotator.TakeWhole()
	if rotator.Class != "" && rotator.Class != "hudson.tasks.LogRotator" {
		c.note(rotator, "the strategy %s for old builds is not supported; the default of keep_builds applies", rotator.Class)
		return
	}
	number := func(name string) int {
		n, err := strconv.Atoi(strings.TrimSpace(rotator.TakeText(name)))
		if err != nil {
			return 0
		}
		return n
	}
	if days := number("daysToKeep"); days > 0 {
		c.note(rotator, "Jenkins discards builds after %d days; here only their number counts", days)
	}
	if number("artifactDaysToKeep") > 0 || number("artifactNumToKeep") > 0 {
		c.note(rotator, "there are no artifacts here, so their limits do not apply")
	}
	if keep := number("numToKeep"); keep > 0 {
		c.job.Settings.KeepBuilds = &keep
	}
}

// notImported adds a note for each element that was not used.
func (c *conversion) notImported() {
	for _, e := range c.root.Left() {
		if isHarmless(e) {
			c.job.Harmless = append(c.job.Harmless, e.Name)
			continue
		}
		c.note(e, "%s", meaning(e))
	}
}

// shownURL returns a URL without a password.
func shownURL(text string) string {
	if u, err := url.Parse(text); err == nil {
		return u.Redacted()
	}
	return userInfo.ReplaceAllString(text, "//")
}

var userInfo = regexp.MustCompile(`//[^/@]*@`)
