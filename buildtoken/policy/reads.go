package policy

import (
	"maps"
	"slices"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// Read is a parameter that a rule reads.
type Read struct {
	Param string
	// Asks is set if the rule tests somewhere whether the parameter exists. A rule that does
	// not test it denies every trigger of a job without the parameter.
	Asks bool
	// Compared are the literals that the parameter is compared with, by ==, != or in,
	// sorted.
	Compared []string
}

// Reads returns the parameters that a rule reads, sorted by name. It returns none for an
// expression that does not compile.
func (e *Env) Reads(source string) []Read {
	parsed, issues := e.cel.Parse(source)
	if issues.Err() != nil {
		return nil
	}
	compared, asks := map[string][]string{}, map[string]bool{}
	read := func(x ast.Expr, with ...string) {
		if name := paramOf(x); name != "" {
			compared[name] = append(compared[name], with...)
		}
	}
	ast.PreOrderVisit(parsed.NativeRep().Expr(), ast.NewExprVisitor(func(x ast.Expr) {
		read(x)
		if x.Kind() == ast.SelectKind && x.AsSelect().IsTestOnly() && isParams(x.AsSelect().Operand()) {
			asks[x.AsSelect().FieldName()] = true
		}
		if x.Kind() != ast.CallKind || len(x.AsCall().Args()) != 2 {
			return
		}
		left, right := x.AsCall().Args()[0], x.AsCall().Args()[1]
		switch x.AsCall().FunctionName() {
		case operators.In:
			read(left, textsOf(right)...)
			if name := textOf(left); name != "" && isParams(right) {
				asks[name] = true
			}
		case operators.Equals, operators.NotEquals:
			read(left, textsOf(right)...)
			read(right, textsOf(left)...)
		}
	}))
	var all []Read
	for _, name := range slices.Sorted(maps.Keys(compared)) {
		slices.Sort(compared[name])
		all = append(all, Read{Param: name, Asks: asks[name], Compared: slices.Compact(compared[name])})
	}
	return all
}

func isParams(x ast.Expr) bool { return x.Kind() == ast.IdentKind && x.AsIdent() == "params" }

// paramOf returns the parameter that an expression reads, as in params.NAME and
// params["NAME"]; "" for other expressions and an index that is computed.
func paramOf(x ast.Expr) string {
	switch x.Kind() {
	case ast.SelectKind:
		if sel := x.AsSelect(); isParams(sel.Operand()) && !sel.IsTestOnly() {
			return sel.FieldName()
		}
	case ast.CallKind:
		if call := x.AsCall(); call.FunctionName() == operators.Index && len(call.Args()) == 2 && isParams(call.Args()[0]) {
			return textOf(call.Args()[1])
		}
	default: // reads no parameter
	}
	return ""
}

// textOf returns the text of a literal; "" for other expressions.
func textOf(x ast.Expr) string {
	text, _ := x.AsLiteral().(types.String)
	return string(text)
}

// textsOf returns the text of a literal, or the texts of a list of them. Other literals, such as
// numbers, are left out.
func textsOf(x ast.Expr) []string {
	elements := []ast.Expr{x}
	if x.Kind() == ast.ListKind {
		elements = x.AsList().Elements()
	}
	var all []string
	for _, element := range elements {
		if text, ok := element.AsLiteral().(types.String); ok {
			all = append(all, string(text))
		}
	}
	return all
}
