package jenkinsimport

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/caddy-module/jenkinshome"
)

// param is a parameter of a job.
type param struct {
	job.Param
	at *jenkinshome.Element
	// problem is why the job cannot run here because of it, "" if it can.
	problem string
}

// parameters reads the parameters. A relayed job can have more of them than one that runs here.
func (c *conversion) parameters(properties *jenkinshome.Element) {
	property := properties.Take("hudson.model.ParametersDefinitionProperty")
	for _, definition := range property.Take("parameterDefinitions").TakeAll() {
		c.params = append(c.params, c.parameter(definition))
	}
}

// relatedKinds are the classes of parameters by their kinds here.
var relatedKinds = map[string]job.Kind{
	"hudson.model.StringParameterDefinition":   job.KindString,
	"hudson.model.TextParameterDefinition":     job.KindText,
	"hudson.model.BooleanParameterDefinition":  job.KindBoolean,
	"hudson.model.ChoiceParameterDefinition":   job.KindChoice,
	"hudson.model.PasswordParameterDefinition": job.KindPassword,
	"hudson.model.FileParameterDefinition":     job.KindFile,
}

func (c *conversion) parameter(definition *jenkinshome.Element) param {
	p := param{at: definition, Param: job.Param{Name: definition.TakeText("name"), Kind: relatedKinds[definition.Name]}}
	if d := definition.Take("description"); d != nil {
		p.Description = c.description(d)
	}
	value := definition.Take("defaultValue")
	switch p.Kind {
	case job.KindString, job.KindText:
		p.Default = textOf(value)
		if definition.TakeText("trim") == "true" {
			p.Trim = p.Kind == job.KindString
			if !p.Trim {
				c.note(definition, "Jenkins trims the value; a text is not trimmed here")
			}
		}
	case job.KindBoolean:
		p.Default = map[bool]string{true: "true"}[strings.EqualFold(strings.TrimSpace(textOf(value)), "true")]
	case job.KindChoice:
		p.Choices = choices(definition.Take("choices"))
		if at := slices.Index(p.Choices, textOf(value)); value != nil && at != -1 {
			p.Choices = slices.Concat(p.Choices[at:at+1], p.Choices[:at], p.Choices[at+1:]) // the first is the default
		}
	case job.KindPassword:
		if textOf(value) != "" || definition.TakeText("defaultValueAsSecret") != "" {
			c.note(definition, "the default of the password is not imported; callers must give the value")
		}
	case job.KindFile:
	default:
		p.problem = fmt.Sprintf("a parameter of the class %s is not supported", definition.Name)
		p.Kind = job.KindString
		if len(value.Peek()) == 0 {
			p.Default = textOf(value)
		}
	}
	c.checkParam(&p)
	return p
}

func textOf(e *jenkinshome.Element) string {
	if e == nil {
		return ""
	}
	return e.Text
}

// choices reads those of a choice, which are below <a> in files of newer versions.
func choices(e *jenkinshome.Element) []string {
	if list := e.Take("a"); list != nil {
		e = list
	}
	var all []string
	for _, choice := range e.TakeAll() {
		all = append(all, choice.Text)
	}
	return all
}

// checkParam finds out whether a parameter can be written.
func (c *conversion) checkParam(p *param) {
	if problem := p.Check(); problem != nil && p.problem == "" {
		_, p.problem, _ = strings.Cut(problem.Error(), strconv.Quote(p.Name)+": ")
	}
	if slices.ContainsFunc(append(slices.Clone(p.Choices), p.Default, p.Name), func(text string) bool { return strings.Contains(text, environmentOpen) }) {
		p.problem = "its default or a choice has " + environmentOpen + ", which Caddy replaces in Caddyfiles"
	}
	if used := reference.FindString(p.Default); used != "" && p.Kind != job.KindBoolean && p.problem == "" {
		c.note(p.at, "Jenkins replaces %s in the default by the value of a variable if there is one; here the value stays as it is", used)
	}
}

// reference matches what Jenkins replaces in the value of a parameter.
var reference = regexp.MustCompile(`\$(\{[A-Za-z_][A-Za-z0-9_.]*\}|[A-Za-z_][A-Za-z0-9_]*)`)

// ownParams sets the parameters of a job that runs here.
func (c *conversion) ownParams() {
	for _, p := range c.params {
		if p.problem != "" {
			c.stop(p.at, "parameter %s: %s", p.Name, p.problem)
		} else {
			c.job.Params = append(c.job.Params, p.Param)
		}
	}
	if err := job.CheckParams(c.job.Params); err != nil {
		c.stop(c.params[0].at, "%s", strings.TrimPrefix(err.Error(), "job: "))
	}
}

// relayedParams sets the parameters of a relayed job. A parameter that cannot be written is
// left to Jenkins, which uses its default.
func (c *conversion) relayedParams() {
	c.job.Params = nil
	for _, p := range c.params {
		with := append(slices.Clone(c.job.Params), p.Param)
		if job.CheckParams(with) != nil || strings.Contains(p.problem, environmentOpen) {
			c.note(p.at, "parameter %s cannot be passed on, so Jenkins uses its default: %s", p.Name, p.problem)
			continue
		}
		if p.problem != "" {
			c.note(p.at, "parameter %s is passed on as text: %s", p.Name, p.problem)
		}
		c.job.Params = with
	}
}
