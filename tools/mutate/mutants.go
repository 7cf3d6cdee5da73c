package main

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A mutant is one small change to one source file: the bytes from start to end
// are replaced by text.
type mutant struct {
	file       string // as given to the compiler, absolute
	line, col  int
	start, end int
	text       string
	// name is that of the declared function around it, with the type of its receiver: "Queue.Open".
	name string
	// function is the range of lines of the function around it; zero outside of functions.
	function [2]int
	// body is where the statements of the outermost function around it start and end, and
	// results is that function's list of results; zero outside of functions.
	body    [2]int
	results string
	// what describes the change in a few words, for example "drop call".
	what string
}

// find returns every mutant of the package in dir, in the order of the source.
// Only files that are compiled on this platform count, without tests.
func find(dir string) ([]mutant, error) {
	pkg, err := build.ImportDir(dir, 0)
	if err != nil {
		return nil, fmt.Errorf("read package in %s: %w", dir, err)
	}
	var all []mutant
	for _, name := range pkg.GoFiles {
		path := filepath.Join(dir, name)
		source, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, source, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		f := &finder{fset: fset, path: path, source: source}
		ast.Inspect(file, f.visit)
		all = append(all, f.found...)
	}
	return all, nil
}

// finder collects the mutants of one file.
type finder struct {
	fset   *token.FileSet
	path   string
	source []byte
	found  []mutant
	// errs holds, for each function that is being visited, whether its last result is an error.
	errs []bool
	// nodes mirrors the path from the file to the visited node.
	nodes []ast.Node
}

func (f *finder) visit(n ast.Node) bool {
	if n == nil {
		switch f.nodes[len(f.nodes)-1].(type) {
		case *ast.FuncDecl, *ast.FuncLit:
			f.errs = f.errs[:len(f.errs)-1]
		}
		f.nodes = f.nodes[:len(f.nodes)-1]
		return true
	}
	f.nodes = append(f.nodes, n)
	switch n := n.(type) {
	case *ast.FuncDecl:
		f.errs = append(f.errs, returnsError(n.Type))
	case *ast.FuncLit:
		f.errs = append(f.errs, returnsError(n.Type))
	case *ast.IfStmt:
		f.replace(n.Cond, "!("+f.text(n.Cond)+")", "negate condition")
	case *ast.ForStmt:
		if n.Cond != nil {
			f.replace(n.Cond, "false && ("+f.text(n.Cond)+")", "never loop")
		}
	case *ast.BinaryExpr:
		if other, ok := operators()[n.Op]; ok {
			f.add(n.OpPos, len(n.Op.String()), other.String(), n.Op.String()+" becomes "+other.String())
		}
	case *ast.BasicLit:
		f.literal(n)
	case *ast.Ident:
		if other, ok := map[string]string{"true": "false", "false": "true"}[n.Name]; ok {
			f.replace(n, other, n.Name+" becomes "+other)
		}
	case *ast.ExprStmt:
		if _, ok := n.X.(*ast.CallExpr); ok {
			f.drop(n, "drop call")
		}
	case *ast.AssignStmt:
		if n.Tok != token.DEFINE {
			f.drop(n, "drop assignment")
		}
	case *ast.IncDecStmt:
		f.drop(n, "drop "+n.Tok.String())
	case *ast.DeferStmt:
		f.drop(n, "drop defer")
	case *ast.SendStmt:
		f.drop(n, "drop send")
	case *ast.BranchStmt:
		if n.Tok == token.BREAK || n.Tok == token.CONTINUE {
			f.drop(n, "drop "+n.Tok.String())
		}
	case *ast.ReturnStmt:
		f.returned(n)
	}
	return true
}

// literal changes an integer by one.
func (f *finder) literal(n *ast.BasicLit) {
	if n.Kind != token.INT {
		return
	}
	for _, parent := range f.nodes {
		if _, ok := parent.(*ast.ImportSpec); ok {
			return
		}
	}
	f.replace(n, "("+n.Value+" + 1)", n.Value+" becomes "+n.Value+" + 1")
	if value, err := strconv.ParseInt(n.Value, 0, 64); err == nil && value > 0 {
		f.replace(n, "("+n.Value+" - 1)", n.Value+" becomes "+n.Value+" - 1")
	}
}

// returned drops a bare return, and replaces a returned error by nil.
func (f *finder) returned(n *ast.ReturnStmt) {
	if len(n.Results) == 0 {
		f.drop(n, "drop return")
		return
	}
	last := n.Results[len(n.Results)-1]
	if !f.errs[len(f.errs)-1] || f.text(last) == "nil" {
		return
	}
	if call, ok := last.(*ast.CallExpr); ok && len(n.Results) == 1 && !constructsError(f.text(call.Fun)) {
		// The call stays, so that only the lost error shows.
		f.replace(n, "{ _ = "+f.text(last)+"; return nil }", "error becomes nil")
		return
	}
	f.replace(last, "nil", "error becomes nil")
}

func constructsError(function string) bool {
	return function == "errors.New" || function == "errors.Join" || strings.HasSuffix(function, "Errorf")
}

// operators returns what each operator becomes.
func operators() map[token.Token]token.Token {
	return map[token.Token]token.Token{
		token.LSS: token.LEQ, token.LEQ: token.LSS,
		token.GTR: token.GEQ, token.GEQ: token.GTR,
		token.EQL: token.NEQ, token.NEQ: token.EQL,
		token.LAND: token.LOR, token.LOR: token.LAND,
		token.ADD: token.SUB, token.SUB: token.ADD,
		token.MUL: token.QUO, token.QUO: token.MUL,
		token.AND: token.OR, token.OR: token.AND,
	}
}

func returnsError(t *ast.FuncType) bool {
	if t.Results == nil {
		return false
	}
	last := t.Results.List[len(t.Results.List)-1].Type
	id, ok := last.(*ast.Ident)
	return ok && id.Name == "error"
}

// drop replaces a statement by an empty block, which is legal wherever the statement was.
func (f *finder) drop(n ast.Stmt, what string) { f.replace(n, "{}", what) }

func (f *finder) replace(n ast.Node, text, what string) {
	f.add(n.Pos(), int(n.End()-n.Pos()), text, what)
}

func (f *finder) add(at token.Pos, length int, text, what string) {
	p := f.fset.Position(at)
	m := mutant{
		file: f.path, line: p.Line, col: p.Column, start: p.Offset, end: p.Offset + length, text: text, what: what,
	}
	for _, n := range f.nodes {
		switch n := n.(type) {
		case *ast.FuncDecl:
			m.name = functionName(n)
			m.function = f.lines(n)
			f.inside(&m, n.Type, n.Body)
		case *ast.FuncLit:
			m.function = f.lines(n)
			f.inside(&m, n.Type, n.Body)
		}
	}
	f.found = append(f.found, m)
}

func functionName(n *ast.FuncDecl) string {
	if n.Recv == nil {
		return n.Name.Name
	}
	of := n.Recv.List[0].Type
	if star, ok := of.(*ast.StarExpr); ok {
		of = star.X
	}
	switch generic := of.(type) {
	case *ast.IndexExpr:
		of = generic.X
	case *ast.IndexListExpr:
		of = generic.X
	}
	return of.(*ast.Ident).Name + "." + n.Name.Name
}

func (f *finder) lines(n ast.Node) [2]int {
	return [2]int{f.fset.Position(n.Pos()).Line, f.fset.Position(n.End()).Line}
}

// inside records that m changes the statements of a function, unless an outer one is recorded.
func (f *finder) inside(m *mutant, t *ast.FuncType, body *ast.BlockStmt) {
	start, end := f.fset.Position(body.Lbrace).Offset+1, f.fset.Position(body.Rbrace).Offset
	if m.body[1] > 0 || m.start < start {
		return
	}
	m.body = [2]int{start, end}
	if t.Results != nil {
		m.results = f.text(t.Results)
	}
}

func (f *finder) text(n ast.Node) string {
	return string(f.source[f.fset.Position(n.Pos()).Offset:f.fset.Position(n.End()).Offset])
}

// apply returns the source with the change made.
func (m mutant) apply(source []byte) []byte {
	changed := append([]byte{}, source[:m.start]...)
	changed = append(changed, m.text...)
	return append(changed, source[m.end:]...)
}

// described names the change as the list of equivalent mutants does, without the file.
func (m mutant) described(source []byte) string {
	text := m.what + ": " + m.sourceLine(source)
	if m.name == "" {
		return text
	}
	return m.name + ": " + text
}

// sourceLine returns the line of the source in which the mutant begins, trimmed.
func (m mutant) sourceLine(source []byte) string {
	return strings.TrimSpace(strings.Split(string(source), "\n")[m.line-1])
}
