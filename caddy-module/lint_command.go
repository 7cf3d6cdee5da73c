package caddymodule

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

var (
	// shellOperator matches words by which only a shell does something.
	shellOperator = regexp.MustCompile(`^(&&|\|\||\||&|[0-9]?>>?.*|&>.*|<<?.*|.*;)$`)
	// shellVariable matches a variable or a command substitution in a word that is no script.
	shellVariable = regexp.MustCompile(`^[^\s'"(){};]*\$(\{?[A-Za-z_][A-Za-z0-9_]*\}?|\()`)
	// assignment matches a variable that is set in front of a command.
	assignment = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=`)
	// wrongPlaceholder matches what is meant to be {param.NAME}.
	wrongPlaceholder = regexp.MustCompile(`\{(?:params|parameter|parameters|PARAM)\.([A-Za-z_][A-Za-z0-9_.-]*)\}`)
	// ownArguments matches a script that uses the words behind it.
	ownArguments = regexp.MustCompile(`\$[0-9@*#]|\$\{[0-9@*#]|\bshift\b|\bgetopts\b`)
	// scriptOption matches the option of a shell before its script.
	scriptOption = regexp.MustCompile(`^-[a-z]*c$`)

	shells   = []string{"sh", "bash", "dash", "zsh", "ksh", "ash", "fish", "busybox", "pwsh", "powershell", "cmd"}
	builtins = []string{"cd", "export", "source", ".", "set", "eval", "alias", "if", "for", "while", "[["}
	// interpreters take arguments in which $ and ~ mean something to them, or to another shell.
	interpreters = []string{"awk", "gawk", "mawk", "perl", "ruby", "python", "python3", "node", "jq", "yq", "sed", "envsubst", "expect", "ssh", "su", "find", "xargs", "parallel"}
)

// lintCommand warns about a command that reads as if a shell ran it.
func (w *warnings) lintCommand(at, directive string, e *Exec) {
	words := append([]string{e.Command}, e.Args...)
	for _, word := range words {
		if found := wrongPlaceholder.FindStringSubmatch(word); found != nil {
			w.warn(CodePlaceholder, at, "%s: %s is no placeholder (did you mean {param.%s}?)", directive, found[0], found[1])
		}
	}
	program := filepath.Base(e.Command)
	script := strings.Join(words, " ")
	switch {
	case strings.ContainsAny(e.Command, " \t\n") && !strings.Contains(e.Command, "/"):
		w.warn(CodeSpaces, at, "%s: there is no program %q; write its words separately: %s %s", directive, e.Command, directive, strings.Join(strings.Fields(script), " "))
		return
	case slices.Contains(builtins, e.Command):
		w.warn(CodeShell, at, "%s: %s is a word of the shell, not a program; write the commands as a script: %s sh -c `%s`, and set a directory with dir and variables with env", directive, e.Command, directive, script)
		return
	case assignment.MatchString(e.Command):
		name, value, _ := strings.Cut(e.Command, "=")
		w.warn(CodeShell, at, "%s: %s would be the program, because there is no shell; set the variable in the block: env %s %s", directive, e.Command, name, value)
		return
	}
	if at := slices.IndexFunc(words, func(word string) bool { return slices.Contains(shells, filepath.Base(word)) }); at >= 0 {
		words = words[:at] // the rest is for that shell
	}
	w.lintScript(at, directive, append([]string{e.Command}, e.Args...))
	if slices.Contains(interpreters, program) {
		words = nil
	}
	exec := false // find ends its -exec with a word ;
	for i, word := range words {
		exec = exec || strings.HasPrefix(word, "-exec") || strings.HasPrefix(word, "-ok")
		what := ""
		switch {
		case i > 0 && shellOperator.MatchString(word) && !exec:
			what = "an argument of " + program
		case shellVariable.MatchString(word):
			what = "not replaced"
		case word == "~" || strings.HasPrefix(word, "~/"):
			what = "not replaced"
		default:
			continue
		}
		w.warn(CodeShell, at, "%s: there is no shell, so %q is %s; write a script: %s sh -c `%s`", directive, word, what, directive, script)
		return
	}
}

// lintScript warns about words behind the script of a shell, which are no part
// of it: usually a quote inside the script has ended it.
func (w *warnings) lintScript(at, directive string, words []string) {
	for i, word := range words {
		if i == 0 || i+2 >= len(words) || !scriptOption.MatchString(word) || !slices.Contains(shells, filepath.Base(words[i-1])) {
			continue
		}
		if !ownArguments.MatchString(words[i+1]) {
			w.warn(CodeScript, at, "%s: the script of %s is only %q; the words behind it, from %q on, are not part of it. Write the whole script in backquotes: %s %s %s `…`",
				directive, filepath.Base(words[i-1]), words[i+1], words[i+2], directive, strings.Join(words[:i], " "), word)
		}
		return
	}
}
