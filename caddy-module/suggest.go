package caddymodule

import (
	"fmt"
	"slices"
	"strings"
)

// The subdirectives, by the block in which they stand.
var (
	scopeWords = []string{"quiet_period", "timeout", "keep_builds", "dir", "label", "env", "allow", "token", "notify"}
	words      = map[string][]string{
		"the global option": {"queue", "node", "executors", "remote_builds", "queue_limit", "keep_builds", "shutdown_timeout", "wrong_tokens", "orphan_timeout", "keep_removed", "audit"},
		"build_token":       append([]string{"root_url", "methods", "joined", "access", "folder", "job", "webhook"}, scopeWords...),
		"folder":            append([]string{"folder", "job", "webhook"}, scopeWords...),
		"job":               append([]string{"description", "disabled", "concurrent", "badge", "coalesce", "param", "run", "poll", "runner", "on", "schedule", "webhook"}, scopeWords...),
		"schedule":          {"timezone", "param", "poll", "catch_up"},
		"token":             {"expires", "allow", "grant"},
		"param":             {"description", "trim", "link"},
		"access":            {"read", "build", "cancel"},
		"run":               {"dir", "env", "inherit_env", "kill_delay", "user", "unstable"},
		"runner http":       {"header", "body", "follow"},
		"runner jenkins":    {"user", "job_token", "retry_for", "lost_after"},
		"node":              {"labels", "executors"},
		"webhook":           {"header", "prefix", "algorithm", "encoding", "tolerance", "max_size"},
		"notify":            {"on", "format", "secret", "header", "body", "repository", "commit"},
		"on":                {"when", "set", "cause", "delay", "include"},
	}
	// blocks are where a misplaced subdirective belongs, the most likely one first.
	blocks = []string{"the global option", "build_token", "job", "token", "run", "param", "access", "node"}
)

// blockOf returns the block of words for the text that an error has for it.
func blockOf(where string) string {
	switch kind, _, _ := strings.Cut(where, " "); {
	case strings.HasPrefix(where, "the global option"):
		return "the global option"
	case kind == "poll":
		return "run"
	case kind == "runner":
		return where
	default:
		return kind
	}
}

// cure returns what to do about an unknown subdirective, as the end of an error:
// the word that was probably meant, or the block in which the word belongs.
func cure(name, where string) string {
	here := words[blockOf(where)]
	if meant := nearest(name, here); meant != "" {
		return fmt.Sprintf(" (did you mean %s?)", meant)
	}
	for _, block := range blocks {
		if !slices.Contains(words[block], name) {
			continue
		}
		switch block {
		case "the global option":
			return fmt.Sprintf("; %s belongs in the global option build_token, at the top of the file", name)
		case "build_token":
			return fmt.Sprintf("; %s belongs in the directive build_token of a site, outside of jobs", name)
		}
		return fmt.Sprintf("; %s belongs in a %s block", name, block)
	}
	return ""
}

// nearest returns the candidate with the smallest edit distance from name, if it
// is at most 2 and less than half of the name. A tie goes to the first.
func nearest(name string, candidates []string) string {
	best, least := "", min(2, (len(name)-1)/2)
	for _, c := range candidates {
		if d := distance(strings.ToLower(name), c); c != name && (best == "" && d <= least || d < least) {
			best, least = c, d
		}
	}
	return best
}

// distance is the number of letters to add, drop, change or swap with their
// neighbours that turns a into b.
func distance(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		next := make([]int, len(b)+1)
		next[0] = i + 1
		for j := range len(b) {
			change := last[j]
			if a[i] != b[j] {
				change++
			}
			next[j+1] = min(change, last[j+1]+1, next[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, last = last, next
	}
	return last[len(b)]
}
