package definition

import (
	"cmp"
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
)

// Step is one check and what it saw and decided.
type Step struct {
	Check string // such as "token" or "on github push when"
	Found string // such as "false"
	OK    bool
	// OtherEvent is set if an `on` is for other events than that of the delivery, which explains
	// less than any other check.
	OtherEvent bool
	// Rule is the rule of a check of rules; its name is empty for other checks.
	Rule policy.Rule
	// Reads is what the rule reads, such as params.ENV.
	Reads []string
}

// Explanation collects what the checks of one trigger saw and decided. A nil Explanation
// discards it. It shows no passwords.
type Explanation struct {
	Steps []Step
}

// pass records a check that let the trigger through.
func (x *Explanation) pass(c Check, found string) {
	if x != nil {
		x.Steps = append(x.Steps, Step{Check: string(c), Found: found, OK: true})
	}
}

// refuse records the check that refused the trigger, and returns err.
func (x *Explanation) refuse(c Check, err error) error {
	if x != nil {
		x.Steps = append(x.Steps, Step{Check: string(c), Found: err.Error()})
	}
	return err
}

// rules records the rules of a policy, up to the one that decided.
func (x *Explanation) rules(p *policy.Policy, in *policy.Input, values []job.Value, decision error) {
	shown := *in
	shown.Params = make(map[string]string, len(values))
	for _, v := range values {
		if shown.Params[v.Name] = v.Text; v.Kind == job.KindPassword {
			shown.Params[v.Name] = "****"
		}
	}
	for _, f := range p.Findings(&shown, decision) {
		x.Steps = append(x.Steps, Step{Check: string(CheckRule), Found: f.Text(), OK: f.Allowed, Rule: f.Rule, Reads: f.Reads})
	}
}

// shownValues returns parameters on one line, without passwords.
func shownValues(values []job.Value) string {
	const most = 100 // bytes of a value
	all := make([]string, len(values))
	for i, v := range values {
		if len(v.Text) > most {
			v.Text = strings.ToValidUTF8(v.Text[:most], "") + "…"
		}
		all[i] = v.String()
	}
	return strings.Join(all, " ")
}

// shownPlace returns a place as people read it.
func shownPlace(place string) string { return cmp.Or(place, "the top level") }
