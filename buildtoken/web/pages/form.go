package pages

import (
	"errors"
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// formView is the form that starts a build.
type formView struct {
	Action string
	// Files is set if the form takes files.
	Files, Disabled bool
	// Problem is wrong with the form as a whole.
	Problem string
	// Note is about where the values come from. Like is the number of the build that they
	// are those of; 0 if there is none. Then Defaults is the address of the form without them.
	Note     string
	Like     int64
	Defaults string
	// Again names the passwords and files that must be entered again.
	Again  []string
	Fields []field
	// Delay and Cause are as they were sent; Quiet is the delay if there is none.
	Delay, DelayProblem, Quiet, Cause string
	// Open is set if the options should be visible.
	Open bool
}

// field is one parameter in the form.
type field struct {
	ID, Name, Help string
	Kind           job.Kind
	Value          string
	Checked        bool
	Choices        []string
	// Secret is set for a password with a default, which is used if none is typed.
	Secret  bool
	Problem string
	// Again is set for a password or file that was there and is not sent back.
	Again bool
}

// freshForm is the form with the defaults.
func (v *visit) freshForm(j *job.Job) *formView {
	form := &formView{Action: web.JobURL(v.base, j.FullName) + "buildForm", Disabled: j.Disabled}
	if quiet := j.Settings.QuietPeriod; quiet != nil {
		form.Quiet = span(*quiet)
	}
	for _, p := range j.Params {
		f := field{ID: "param-" + p.Name, Name: p.Name, Kind: p.Kind, Help: p.Description, Choices: p.Choices}
		switch p.Kind {
		case job.KindPassword:
			f.Secret = p.Default != ""
		case job.KindBoolean:
			f.Checked = defaultOf(p) == "true"
		case job.KindChoice:
			f.Value = defaultOf(p)
		case job.KindFile:
			form.Files = true
		case job.KindString, job.KindText:
			f.Value = p.Default
		}
		form.Fields = append(form.Fields, f)
	}
	return form
}

// defaultOf is the value of a parameter for which nothing is given; "" for a file.
func defaultOf(p job.Param) string {
	values, err := (&job.Job{Params: []job.Param{p}}).Values(nil, nil)
	if err != nil || len(values) == 0 {
		return ""
	}
	return values[0].Text
}

// given returns the values that a form sent for the parameters of a job, as a trigger needs
// them. It corrects values that browsers send in another form than they were typed.
func given(j *job.Job, sent map[string][]string) map[string][]string {
	values := map[string][]string{}
	for _, p := range j.Params {
		got, ok := sent[p.Name]
		switch p.Kind {
		case job.KindBoolean:
			// A box without a tick sends nothing, which is not the default here.
			if !ok {
				got = []string{"false"}
			}
		case job.KindPassword:
			if len(got) == 1 && got[0] == "" && p.Default != "" {
				continue
			}
		case job.KindString, job.KindText, job.KindChoice:
			// Browsers send every line's end as CR LF.
			got = unixLines(got)
		case job.KindFile:
		}
		if p.Kind == job.KindFile || (!ok && p.Kind != job.KindBoolean) {
			continue
		}
		values[p.Name] = got
	}
	return values
}

func unixLines(texts []string) []string {
	lines := make([]string, len(texts))
	for i, t := range texts {
		lines[i] = strings.ReplaceAll(t, "\r\n", "\n")
	}
	return lines
}

// refill puts the sent values into the form, and errors beside their fields.
// It reports whether anything is. Passwords and files are not sent back: they are marked,
// and the browser does not send the form again without them.
func (f *formView) refill(j *job.Job, values map[string][]string, files map[string]buildtoken.Upload) (wrong bool) {
	for i, p := range j.Params {
		at := &f.Fields[i]
		got := values[p.Name]
		if len(got) > 0 {
			switch p.Kind {
			case job.KindBoolean:
				at.Checked = got[0] == "true"
			case job.KindString, job.KindText, job.KindChoice:
				at.Value = got[0]
				if strings.Contains(got[0], "\n") {
					at.Kind = job.KindText // a field of one line would drop the line ends
				}
			case job.KindPassword:
				at.Again = got[0] != ""
			case job.KindFile:
			}
		}
		if _, sent := files[p.Name]; sent {
			at.Again = true
		}
		if at.Again {
			f.Again = append(f.Again, p.Name)
		}
		if _, err := (&job.Job{Params: []job.Param{p}}).Values(values, nil); err != nil {
			at.Problem, wrong = problemText(err), true
		}
	}
	if f.Delay != "" {
		if _, err := job.ParseDelay(f.Delay); err != nil {
			f.DelayProblem, wrong = "Write a time such as 90s or 5m, of 365 days at most.", true
		}
	}
	f.Open = f.Delay != "" || f.Cause != ""
	if wrong {
		f.Problem = "Nothing was queued. Look at the fields that are marked."
	}
	return wrong
}

// problemText returns the text of an error about a value, without the prefix that only helps
// programmers.
func problemText(err error) string {
	text := strings.TrimPrefix(err.Error(), job.ErrValue.Error()+": ")
	if errors.Is(err, job.ErrValue) && text != "" {
		return strings.ToUpper(text[:1]) + text[1:] + "."
	}
	return text
}
