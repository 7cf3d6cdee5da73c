package policy

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
)

// Finding is what became of one rule of a decision, for people.
type Finding struct {
	Rule Rule
	// Allowed reports whether the rule was true. If it was not and Err is nil, it was false.
	Allowed bool
	Err     error
	// Reads is what the rule reads, such as params.ENV, request.method or now, each once. One
	// that reads all parameters or headers reads params or request.headers.
	Reads []string
	// Saw are the values of what it reads, such as `params.ENV = "staging"`.
	Saw []string
}

// Text returns the outcome and what the rule saw, on one line.
func (f Finding) Text() string {
	text := strconv.FormatBool(f.Allowed)
	if f.Err != nil {
		text = "it failed: " + f.Err.Error()
	}
	if len(f.Saw) > 0 {
		text += "; " + strings.Join(f.Saw, ", ")
	}
	return text
}

// Findings returns what [Policy.Decide] found, up to the rule that decided. decision is its
// result for the input of which shown is a copy that may hide values. Deciding does not
// compute findings, so a decision without findings costs nothing more.
func (p *Policy) Findings(shown *Input, decision error) []Finding {
	denied, _ := decision.(*Denied) //nolint:errorlint // as Decide returns it
	var all []Finding
	for i := range p.rules {
		r := &p.rules[i]
		f := Finding{Rule: r.rule, Allowed: true, Reads: r.reads}
		for _, path := range r.reads {
			f.Saw = append(f.Saw, path+" = "+shown.show(path))
		}
		if denied != nil && denied.index == i {
			f.Allowed, f.Err = false, denied.Err
			return append(all, f)
		}
		all = append(all, f)
	}
	return all
}

const headersPath = "request.headers"

// reads returns the paths that an expression reads, in their order.
func reads(checked *cel.Ast) []string {
	var all []string
	inner := map[int64]bool{} // expressions that are part of a longer path
	variable := func(x ast.Expr) (name string, ok bool) {
		if x.Kind() != ast.IdentKind {
			return "", false
		}
		switch name = x.AsIdent(); name {
		case "job", "token", "params", "delay", "cause", "user", "now", "request":
			return name, true
		}
		return "", false
	}
	var path func(x ast.Expr) (string, bool)
	join := func(operand ast.Expr, field string) (string, bool) {
		outer, ok := path(operand)
		if !ok || field == "" {
			return "", false
		}
		inner[operand.ID()] = true
		return outer + "." + field, true
	}
	path = func(x ast.Expr) (string, bool) {
		switch x.Kind() {
		case ast.SelectKind:
			return join(x.AsSelect().Operand(), x.AsSelect().FieldName())
		case ast.CallKind:
			args := x.AsCall().Args()
			if len(args) != 2 {
				return "", false
			}
			switch x.AsCall().FunctionName() {
			case operators.Index, operators.OptIndex, operators.OptSelect:
				return join(args[0], textOf(args[1]))
			case operators.In:
				return join(args[1], textOf(args[0]))
			}
		default:
		}
		return variable(x)
	}
	ast.PreOrderVisit(checked.NativeRep().Expr(), ast.NewExprVisitor(func(x ast.Expr) {
		if inner[x.ID()] {
			return
		}
		if p, ok := path(x); ok && !slices.Contains(all, p) {
			all = append(all, p)
		}
	}))
	return all
}

// show returns the value of a path, as CEL would write it.
func (in *Input) show(path string) string {
	if name, ok := strings.CutPrefix(path, "params."); ok {
		return showKey(in.Params, name)
	}
	if name, ok := strings.CutPrefix(path, headersPath+"."); ok {
		return showKey(in.Request.Headers, name)
	}
	switch path {
	case "params":
		return showMap(in.Params)
	case headersPath:
		return showMap(in.Request.Headers)
	case "now":
		return in.Now.UTC().Format(time.RFC3339)
	case "delay":
		return in.Delay.String()
	}
	text, ok := map[string]string{
		"job.name": in.Job.Name, "job.folder": in.Job.Folder, "job.full_name": in.Job.FullName, "token.name": in.Token.Name,
		"cause": in.Cause, "user": in.User, "request.method": in.Request.Method, "request.host": in.Request.Host,
		"request.path": in.Request.Path, "request.scheme": in.Request.Scheme, "request.user_agent": in.Request.UserAgent,
		"request.remote_ip": plainAddress(in.Request.RemoteIP),
	}[path]
	if !ok {
		return "…"
	}
	return quote(text)
}

func showKey(m map[string]string, name string) string {
	if text, ok := m[name]; ok {
		return quote(text)
	}
	return "absent"
}

func showMap(m map[string]string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		all = append(all, fmt.Sprintf("%s: %s", name, quote(m[name])))
	}
	return "{" + shorten(strings.Join(all, ", ")) + "}"
}

func quote(text string) string { return strconv.Quote(shorten(text)) }
