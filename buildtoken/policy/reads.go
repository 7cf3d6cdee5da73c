package policy

import (
	"maps"
	"slices"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// Params returns the names of the parameters that a rule needs: it reads them,
// and never asks whether they exist, so it denies every trigger of a job that
// does not have them. They are sorted. An expression that does not compile needs
// none.
func (e *Env) Params(source string) []string {
	parsed, issues := e.cel.Parse(source)
	if issues.Err() != nil {
		return nil
	}
	needed, tested := map[string]bool{}, map[string]bool{}
	isParams := func(x ast.Expr) bool { return x.Kind() == ast.IdentKind && x.AsIdent() == "params" }
	text := func(x ast.Expr) string {
		if x.Kind() != ast.LiteralKind {
			return ""
		}
		s, _ := x.AsLiteral().(types.String)
		return string(s)
	}
	ast.PreOrderVisit(parsed.NativeRep().Expr(), ast.NewExprVisitor(func(x ast.Expr) {
		switch x.Kind() {
		case ast.SelectKind:
			sel := x.AsSelect()
			if isParams(sel.Operand()) {
				set := needed
				if sel.IsTestOnly() {
					set = tested
				}
				set[sel.FieldName()] = true
			}
		case ast.CallKind:
			call := x.AsCall()
			args := call.Args()
			if len(args) != 2 {
				return
			}
			switch {
			case call.FunctionName() == operators.Index && isParams(args[0]):
				needed[text(args[1])] = true
			case call.FunctionName() == operators.In && isParams(args[1]):
				tested[text(args[0])] = true
			}
		default: // reads no parameter
		}
	}))
	delete(needed, "") // an index that is computed
	for name := range tested {
		delete(needed, name)
	}
	return slices.Sorted(maps.Keys(needed))
}
