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

// howtoLine is a text to copy, and its description.
type howtoLine struct{ ID, Label, Text string }

func (v *visit) howto(c *definition.Compiled) howtoView {
	root := v.Root()
	view := howtoView{Tokens: c.Tokens.Len() > 0}
	add := func(id, label, text string) { view.Lines = append(view.Lines, howtoLine{"how-" + id, label, text}) }
	name := strings.ReplaceAll(url.QueryEscape(c.FullName), "%2F", "/")
	if view.Tokens {
		const curl = "curl -H @" + tokenFile + " "
		add("token", "Keep your token in a file that only you can read (bash or zsh)", keepSecret("read", "Token: ", "Authorization: Bearer %s\\n", tokenFile))
		for _, p := range c.Params {
			if mustBeGiven(p) {
				add("secret-"+p.Name, "Likewise the value of "+p.Name, keepSecret("IFS= read", p.Name+": ", "%s", secretFile(p)))
			}
		}
		method := "" // curl sends POST if there are parameters
		switch methods := v.TriggerMethods(); {
		case len(c.Params) == 0 && !slices.Contains(methods, http.MethodGet):
			method = "-X POST "
		case len(c.Params) > 0 && !slices.Contains(methods, http.MethodPost) && !c.TakesFiles():
			method = "-G "
		}
		add("build", "Start a build"+uploads(c.Params), needed(c.Params)+curl+method+triggerArguments(c.Params)+quote(root+"buildByToken/"+triggerAction(c.Params)+"?job="+name))
		const item = "&item=ITEM"
		add("status", "Its status; ITEM is the number in the answer, as in “queued as item 7” (the token needs the grant status)", curl+quote(root+"buildByToken/status?job="+name+item))
		add("log", "Its log, until it ends (the token needs the grant log)", curl+"-N "+quote(root+"buildByToken/log?job="+name+item))
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
		text := defaultOf(p)
		switch {
		case p.Kind == job.KindFile:
			b.WriteString("-F " + quote(p.Name+"=@"+uploadFile(p)))
		case p.Kind == job.KindPassword && p.Default != "":
			continue // without a value, the default is used
		case p.Kind == job.KindPassword && files:
			b.WriteString("-F " + quote(p.Name+"=<"+secretFile(p)))
		case p.Kind == job.KindPassword:
			b.WriteString("--data-urlencode " + quote(p.Name+"@"+secretFile(p)))
		case files:
			b.WriteString("--form-string " + quote(p.Name+"="+text))
		default:
			b.WriteString("--data-urlencode " + quote(p.Name+"="+text))
		}
		b.WriteString(" \\\n  ")
	}
	return b.String()
}

// tokenFile is the file with the token, as the lines have it.
const tokenFile = "token.header"

// secretFile is the file with the value of a password, uploadFile the one to upload. Names of
// parameters mean nothing to a shell.
func secretFile(p job.Param) string { return p.Name + ".secret" }
func uploadFile(p job.Param) string { return p.Name + ".upload" }

// mustBeGiven reports whether a parameter is a password without a default.
func mustBeGiven(p job.Param) bool { return p.Kind == job.KindPassword && p.Default == "" }

// keepSecret is a line that asks for a secret and writes it to a file that only its owner can
// read. The secret is neither shown nor an argument of a program. read is what reads it: with
// IFS=, spaces around it belong to it.
func keepSecret(read, prompt, format, file string) string {
	return "(umask 077; rm -f " + file + "; printf " + quote(prompt) + "; " + read + " -rs secret && printf " + quote(format) + ` "$secret" >` + file + "; echo)"
}

// needed is the beginning of a line that ends there if a file is missing: curl would only
// warn, and send an empty value.
func needed(params []job.Param) string {
	files := tokenFile
	for _, p := range params {
		switch {
		case p.Kind == job.KindFile:
			files += " " + uploadFile(p)
		case mustBeGiven(p):
			files += " " + secretFile(p)
		}
	}
	return "ls " + files + " >/dev/null && "
}

// uploads explains the files to upload, "" if there are none.
func uploads(params []job.Param) string {
	var files []string
	for _, p := range params {
		if p.Kind == job.KindFile {
			files = append(files, uploadFile(p))
		}
	}
	if len(files) == 0 {
		return ""
	}
	return ", with your own files for " + strings.Join(files, ", ")
}

// quote makes one word of a text for a shell.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
