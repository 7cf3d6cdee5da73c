// Package definition compiles the configuration of a site: the job tree with
// its tokens, rules, parameters and runners, and the access rules for callers
// without a token.
//
// [Compile] turns a [Spec] into a [Site]. It reports all mistakes that can be
// found at once. A Site is immutable and safe for concurrent use.
package definition
