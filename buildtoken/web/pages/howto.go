package pages

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// howtoView is how programs trigger a job, as lines to copy. No token is in it.
type howtoView struct {
	Lines []howtoLine
	// Tokens is set if a token opens the job.
	Tokens bool
	// Badge is the address of the picture; "" if it is not public.
	Badge string
}

// howtoLine is one thing to copy, and what it is.
type howtoLine struct{ ID, Label, Text string }

func (v *visit) howto(c *definition.Compiled) howtoView {
	root := v.Root()
	view := howtoView{Tokens: c.Tokens.Len() > 0}
	add := func(id, label, text string) { view.Lines = append(view.Lines, howtoLine{"how-" + id, label, text}) }
	name := strings.ReplaceAll(url.QueryEscape(c.FullName), "%2F", "/")
	if view.Tokens {
		const curl = "curl -H @token.header "
		method := "" // curl sends POST if there are parameters
		switch methods := v.TriggerMethods(); {
		case len(c.Params) == 0 && !slices.Contains(methods, http.MethodGet):
			method = "-X POST "
		case len(c.Params) > 0 && !slices.Contains(methods, http.MethodPost) && !takesFiles(c.Job):
			method = "-G "
		}
		add("build", "Start a build", curl+method+triggerArguments(c.Params)+quote(root+"buildByToken/"+triggerAction(c.Params)+"?job="+name))
		add("status", "Status of item 7 (the token needs the grant status)", curl+quote(root+"buildByToken/status?job="+name+"&item=7"))
		add("log", "Its log, until it ends (the token needs the grant log)", curl+"-N "+quote(root+"buildByToken/log?job="+name+"&item=7"))
	}
	if len(c.On) > 0 {
		var names []string
		for _, on := range c.On {
			if !slices.Contains(names, on.Webhook.Name) {
				names = append(names, on.Webhook.Name)
			}
		}
		add("webhook", "Address for webhooks: "+strings.Join(names, ", "), root+"buildByToken/webhook?job="+name)
	}
	if c.Badge {
		at := web.JobURL(root, c.FullName)
		view.Badge = web.JobURL(v.base, c.FullName) + "badge/icon.svg"
		add("badge", "Badge, in Markdown", "[![build]("+at+"badge/icon.svg)]("+at+")")
	}
	return view
}

func triggerAction(params []job.Param) string {
	if len(params) == 0 {
		return "build"
	}
	return "buildWithParameters"
}

// triggerArguments are curl's, one for each parameter, with its default. Passwords and
// files come out of files.
func triggerArguments(params []job.Param) string {
	files := slices.ContainsFunc(params, func(p job.Param) bool { return p.Kind == job.KindFile })
	var b strings.Builder
	for _, p := range params {
		text, _ := defaultOf(p) // what cannot be taken is not shown either
		switch {
		case p.Kind == job.KindFile:
			b.WriteString("-F " + quote(p.Name+"=@FILE"))
		case p.Kind == job.KindPassword && p.Default != "":
			continue // without a value, the default is used
		case p.Kind == job.KindPassword && files:
			b.WriteString("-F " + quote(p.Name+"=<FILE"))
		case p.Kind == job.KindPassword:
			b.WriteString("--data-urlencode " + quote(p.Name+"@FILE"))
		case files:
			b.WriteString("--form-string " + quote(p.Name+"="+text))
		default:
			b.WriteString("--data-urlencode " + quote(p.Name+"="+text))
		}
		b.WriteString(" \\\n  ")
	}
	return b.String()
}

// quote makes one word of a text for a shell.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
