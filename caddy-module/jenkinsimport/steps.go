package jenkinsimport

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/buildtoken/buildtoken/caddy-module/jenkinshome"
)

// step is a shell step.
type step struct {
	text string
	// words start the program that reads the script; its path follows.
	words []string
	// unstable is the exit status that means UNSTABLE, 0 for none.
	unstable int
}

const shellStep = "hudson.tasks.Shell"

// steps reads the build steps, all of which must be shell steps.
func (c *conversion) steps(checkout *git) []step {
	var steps []step
	for _, b := range c.root.Take("builders").TakeAll() {
		switch {
		case b.Dangling():
			c.stop(b, "it refers to a step that is not there")
		case b.Name != shellStep:
			c.stop(b, "a build step of the class %s is not supported", b.Name)
		default:
			steps = append(steps, c.step(b, checkout != nil))
		}
	}
	return steps
}

func (c *conversion) step(b *jenkinshome.Element, afterCheckout bool) step {
	s := step{text: strings.ReplaceAll(b.TakeText("command"), "\r\n", "\n")} // as Jenkins does
	b.Take("configuredLocalRules").TakeWhole()
	if unstable := strings.TrimSpace(b.TakeText("unstableReturn")); unstable != "" {
		n, err := strconv.ParseUint(unstable, 10, 8)
		if err != nil {
			c.stop(b, "%q is no exit status", unstable)
		}
		s.unstable = int(n)
	}
	c.interpreter(b, &s)
	c.variables(b, s.text, afterCheckout)
	return s
}

// interpreter finds the program for a script as Jenkins does: it splits the first line of a
// script that begins with #!, which a kernel would not.
func (c *conversion) interpreter(at *jenkinshome.Element, s *step) {
	line, isScript := strings.CutPrefix(s.text, "#!")
	if !isScript {
		s.words = []string{c.shell, "-xe"}
		return
	}
	line, _, _ = strings.Cut(line, "\n")
	s.words = strings.Fields(line)
	switch {
	case len(s.words) == 0:
		c.stop(at, "the first line names no program")
	case windowsProgram.MatchString(line):
		c.stop(at, "the script is for a program of Windows")
	case line[0] == ' ' || line[0] == '\t':
		c.stop(at, "Jenkins cannot start a script with a blank after #!; remove it")
	case strings.ContainsAny(line, `"'\`):
		c.stop(at, "the first line has quotes or backslashes, which Jenkins and shells read differently")
	case strings.Contains(line, "{"):
		c.stop(at, "the first line has braces, which can be placeholders")
	}
}

// windowsProgram matches the path of a program with the letter of a drive.
var windowsProgram = regexp.MustCompile(`^\s*"?[A-Za-z]:`)

// onlyInJenkins matches variables that builds in Jenkins have and builds here do not.
var onlyInJenkins = regexp.MustCompile(`\$\{?((?:JENKINS_|HUDSON_|GERRIT_|BUILD_USER|CHANGE_|ghprb|SVN_|GIT_|gitlab)[A-Za-z0-9_]*|JENKINS_HOME|NODE_LABELS|BUILD_TIMESTAMP|JOB_DISPLAY_URL|RUN_DISPLAY_URL|ROOT_BUILD_CAUSE|sha1|WORKSPACE_TMP)`)

// variables notes which variables of Jenkins a script reads. Those of Git are there after a checkout.
func (c *conversion) variables(at *jenkinshome.Element, script string, afterCheckout bool) {
	var names []string
	for _, found := range onlyInJenkins.FindAllStringSubmatch(script, -1) {
		name := found[1]
		if !slices.Contains(names, name) && !slices.ContainsFunc(c.params, func(p param) bool { return p.Name == name }) &&
			(!afterCheckout || !slices.Contains(gitVariables, name)) {
			names = append(names, name)
		}
	}
	if len(names) > 0 {
		c.note(at, "the script reads %s, which is not set here; set it with env, or change the script", strings.Join(names, ", "))
	}
	if strings.Contains(script, "BUILD_TAG") {
		c.note(at, "the script reads BUILD_TAG, which begins with buildtoken- here")
	}
	if strings.Contains(script, "dontKillMe") {
		c.note(at, "the script lets processes go on after the build; here all processes of a build end with it, so start them as a service")
	}
}

// scripts writes the files of a job that runs here, and its command. prepare are lines of a
// script that run before the steps.
func (c *conversion) scripts(prepare string, steps []step) {
	if prepare == "" && len(steps) == 1 {
		s := steps[0]
		c.job.Run = &Command{Words: append(s.words, c.script(s.text, ".sh")), Unstable: s.unstable}
		return
	}
	if prepare == "" && len(steps) == 0 {
		c.job.Run = &Command{Words: []string{"true"}}
		c.entry.note("builders", "the job has no build steps")
		return
	}
	main := c.path("jobs", c.job.FullName, ".sh") // before its parts, so that it has the shortest name
	var b strings.Builder
	b.WriteString(prepare)
	command := &Command{}
	for i, s := range steps {
		line := quoteAll(append(s.words, c.script(s.text, fmt.Sprintf(".%d.sh", i+1))))
		if s.unstable == 0 {
			fmt.Fprintf(&b, "%s || exit 1\n", line)
			continue
		}
		if command.Unstable == 0 {
			command.Unstable = wrapperUnstable
		}
		fmt.Fprintf(&b, "%s || { [ $? -eq %d ] || exit 1; result=%d; }\n", line, s.unstable, wrapperUnstable)
	}
	text := "# Written by import-jenkins: runs the steps of the job one after another, each as a separate\n# process. The first that fails ends the build.\n"
	if command.Unstable == 0 {
		text += b.String()
	} else {
		text += "result=0\n" + b.String() + "exit $result\n"
	}
	c.job.Files = append(c.job.Files, File{Path: main, Text: text})
	command.Words = []string{"sh", c.absolute(main)}
	c.job.Run = command
}

// wrapperUnstable is the exit status of a script of several steps if one of them was UNSTABLE.
// All failures have status 1.
const wrapperUnstable = 3

// script adds a file with a script, and returns its absolute path.
func (c *conversion) script(text, suffix string) string {
	name := c.path("jobs", c.job.FullName, suffix)
	c.job.Files = append(c.job.Files, File{Path: name, Text: text})
	return c.absolute(name)
}

// quoteAll returns words as a shell reads them.
func quoteAll(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = shellQuote(w)
	}
	return strings.Join(quoted, " ")
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:@%+,=-]+$`)

func shellQuote(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
