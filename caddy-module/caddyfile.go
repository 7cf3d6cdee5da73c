package caddymodule

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("build_token", parseDirective)
	// After all that can guard a site: respond, abort, error, redir, handle, and authentication.
	httpcaddyfile.RegisterDirectiveOrder("build_token", httpcaddyfile.After, "respond")
}

// parseDirective reads the directive and compares its jobs with those of the
// directives before it: here both places are known.
func parseDirective(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	h.Next()
	at := place(h.Dispenser)
	h.Prev()
	if err := handler.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	this := &site{root: handler.tree(), place: at}
	if err := this.readTexts(); err != nil {
		return nil, h.WrapErr(err)
	}
	const key = "build_token"
	others, _ := h.State[key].([]*site)
	for _, other := range others {
		if full := different(other, this); full != "" {
			return nil, fmt.Errorf("job '%s' is defined differently in the build_token directives at %s and at %s; all that is said about it must be equal, also by its folders",
				full, other.place, this.place)
		}
		if name := differentTarget(other, this); name != "" {
			return nil, fmt.Errorf("notify '%s' is defined differently in the build_token directives at %s and at %s; give one of them another name", name, other.place, this.place)
		}
	}
	h.State[key] = append(others, this)
	// Other commands provision what they adapt, which logs the warnings.
	if len(os.Args) > 1 && (os.Args[1] == "reload" || os.Args[1] == "adapt") {
		for _, w := range handler.Warnings {
			w.log(caddy.Log().Named("build_token"))
		}
	}
	return handler, nil
}

// UnmarshalCaddyfile sets up the handler from the directive. Syntax:
//
//	build_token [<matcher>] {
//		root_url <url>
//		methods GET|POST...
//		joined 303|201
//		ready
//		access {
//			read   <cel>
//			build  <cel>
//			cancel <cel>
//		}
//
//		# these five also in a folder or job; they apply to every job below
//		quiet_period <duration>
//		timeout      <duration>
//		keep_builds  <n>
//		dir          <path>
//		env          <name> <value>                # repeatable
//
//		allow <cel> [<message>]                    # repeatable, in a folder or job too
//		token [<name>] <secret> {                  # the same
//			expires <RFC 3339>
//			allow   <cel> [<message>]          # repeatable
//			grant   trigger|status|log|cancel|share...
//		}
//		webhook [<name>] <kind> <secret>... {      # the same
//			header    <name>                   # of kind hmac only, as the next three
//			prefix    <text>
//			algorithm sha1|sha256|sha512
//			encoding  hex|base64
//			tolerance <duration>
//			max_size  <size>
//		}
//
//		notify <name> <url> {                      # the same
//			on         queued|started|success|failure|unstable|aborted|not_built|fixed|regressed|always...
//			format     standard|slack|discord|teams|ntfy|github|gitlab|jenkins|mail
//			secret     <whsec_...>...          # repeatable
//			header     <name> <value>          # repeatable
//			body       <text/template>
//			repository <text>                  # of formats github and gitlab, as the next
//			commit     <text>
//		}
//
//		folder <name> {
//			...                                # from quiet_period to job
//		}
//
//		job <name> {
//			description <text>
//			disabled
//			concurrent
//			badge
//			coalesce identical|never
//			param <name> string|text|password [<default>] {
//				description <text>
//				trim                       # of a string only
//				link <url>                 # with {value} in it
//			}
//			param <name> boolean [true|false]
//			param <name> choice <value>...
//			param <name> file
//			run <command> [<arg>...] {     # short for runner exec
//				dir         <path>
//				env         <name> <value> # repeatable
//				inherit_env <name>...
//				kill_delay  <duration>
//				user        <name>
//				unstable    <exit status>
//			}
//			runner <module> ...            # any build_token.runners.<module>, instead of run
//			poll <command> [<arg>...]          # block as of run
//			on <webhook> [<event>...] {        # repeatable; the first that matches counts
//				when    <cel>
//				set     <param> <cel>      # repeatable
//				cause   <cel>
//				delay   <duration>
//				include deletions|skips|forks...
//			}
//			...                                # from quiet_period to webhook
//		}
//	}
//
// A directive that is not marked as repeatable must not be repeated in a block.
// Parameters of the four kinds below can have a block with a description too.
// In a site, Caddy replaces its shorthands such as {path} and {method} before this
// function sees them, also in expressions and arguments.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	if len(d.RemainingArgs()) > 0 {
		return d.Err("build_token: what stands here must be a matcher: /path, * or @name")
	}
	p := newParser(d)
	var tree Folder
	top := newLevel(&tree, "")
	err := block(d, func(name string) error {
		if err := top.seen.check(d, name, "root_url", "methods", "joined", "ready", "access"); err != nil {
			return err
		}
		switch name {
		case "root_url":
			return p.rootURL(&h.RootURL)
		case "methods":
			return p.methods(&h.Methods)
		case "joined":
			return p.joined(&h.Joined)
		case "ready":
			h.Ready = true
			_, err := arguments(p.d, name, 0, 0)
			return err
		case "access":
			h.Access = new(Access)
			return p.access(h.Access)
		}
		return p.inFolder(top, name, "build_token")
	})
	p.warnings.lintFolderReads(&tree, "", *p.reads)
	h.Scope, h.Folders, h.Jobs, h.Warnings, h.Lines = tree.Scope, tree.Folders, tree.Jobs, p.warnings.all, p.lines
	return err
}

// parser reads the parts of a directive.
type parser struct {
	d *caddyfile.Dispenser
	// envs are what rules are compiled in, by whether they are those of access.
	// They are made when the first rule is read: that takes some time.
	envs map[bool]*policy.Env
	// events returns what expressions over deliveries are compiled in.
	events func() (*policy.EventEnv, error)
	// warnings are those of the whole directive.
	warnings *warnings
	// reads are the parameters that the rules of the block being read read.
	reads *[]read
	// full is the full name of the job or folder being read, lines where its rules and
	// some of its directives are.
	full  string
	lines map[string]string
}

func newParser(d *caddyfile.Dispenser) parser {
	return parser{
		d: d, envs: map[bool]*policy.Env{}, events: sync.OnceValues(policy.NewEventEnv), warnings: new(warnings), reads: new([]read),
		lines: map[string]string{},
	}
}

func (p parser) rootURL(to *string) error {
	if err := p.text(to, "root_url"); err != nil || !isLiteral(*to) {
		return err
	}
	if _, err := parseRootURL(*to); err != nil {
		return p.d.Errf("root_url: %v", err)
	}
	return nil
}

func (p parser) joined(status *int) error {
	args, err := arguments(p.d, "joined", 1, 1)
	if err != nil {
		return err
	}
	switch args[0] {
	case "303":
		*status = http.StatusSeeOther
	case "201":
		*status = http.StatusCreated
	default:
		return p.d.Errf("joined: '%s' is neither 303 nor 201", args[0])
	}
	return nil
}

func (p parser) methods(methods *[]string) error {
	args, err := arguments(p.d, "methods", 1, 2)
	if err != nil {
		return err
	}
	for i, m := range args {
		if m != "GET" && m != "POST" {
			return p.d.Errf("methods: '%s' is neither GET nor POST", m)
		}
		if i > 0 && m == args[0] {
			return p.d.Errf("methods: %s is listed twice", m)
		}
	}
	*methods = args
	return nil
}

func (p parser) access(a *Access) error {
	if _, err := arguments(p.d, "access", 0, 0); err != nil {
		return err
	}
	seen := once{}
	return block(p.d, func(name string) error {
		if err := seen.check(p.d, name, "read", "build", "cancel"); err != nil {
			return err
		}
		rules := map[string]*string{"read": &a.Read, "build": &a.Build, "cancel": &a.Cancel}
		rule, ok := rules[name]
		if !ok {
			return unknown(p.d, name, "access")
		}
		return p.rule(rule, "access "+name, true)
	})
}

// level is a folder that is being read.
type level struct {
	*Folder
	full string // its full name
	seen once
	// kinds has for each name in it whether it is a folder or a job.
	kinds map[string]string
}

func newLevel(f *Folder, full string) level { return level{f, full, once{}, map[string]string{}} }

// inFolder reads what can stand in a folder, and so at the top too.
func (p parser) inFolder(l level, name, where string) error {
	switch name {
	case "folder":
		return p.folder(l)
	case "job":
		return p.job(l)
	}
	ok, err := p.inScope(&l.Scope, l.seen, name)
	if !ok && err == nil {
		return unknown(p.d, name, where)
	}
	return err
}

func (p parser) folder(in level) error {
	args, err := arguments(p.d, "folder", 1, 1)
	if err != nil {
		return err
	}
	f := Folder{Name: args[0]}
	if err := p.newName(in, f.Name, "folder"); err != nil {
		return err
	}
	inside := newLevel(&f, job.Join(in.full, f.Name))
	p.reads, p.full = new([]read), inside.full
	if !opens(p.d) {
		return p.d.Errf("folder '%s' has no block; write its jobs between { and }", f.Name)
	}
	err = block(p.d, func(name string) error {
		return p.inFolder(inside, name, fmt.Sprintf("folder '%s'", f.Name))
	})
	from := len(p.warnings.all)
	p.warnings.lintFolderReads(&f, inside.full, *p.reads)
	p.warnings.name(from, inside.full)
	in.Folders = append(in.Folders, f)
	return err
}

// newName checks the name of a job or folder.
func (p parser) newName(in level, name, kind string) error {
	if bare, ok := strings.CutSuffix(name, "{"); ok {
		return p.d.Errf("%s: a space is missing before {: %s %s {", kind, kind, bare)
	}
	if err := job.CheckName(name); err != nil {
		text := strings.TrimPrefix(err.Error(), "job: ") // it may be a folder
		if strings.Contains(name, "/") {
			text += "; folders are blocks around their jobs"
		}
		return p.d.Errf("%s: %s", kind, text)
	}
	if other, ok := in.kinds[name]; ok {
		return p.d.Errf("%s '%s': a %s of this name is already here", kind, name, other)
	}
	in.kinds[name] = kind
	return nil
}

var _ caddyfile.Unmarshaler = (*Handler)(nil)
