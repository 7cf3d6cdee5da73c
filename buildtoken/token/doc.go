// Package token recognizes the secrets that open jobs, and never shows one.
//
// A [Secret] is what a caller presented. It keeps a digest only, and prints as
// [redacted] wherever it is printed. A [Token] is what the configuration says
// about one secret: its name, its [Digest], when it expires and what it
// grants. A [Set] holds the tokens that open one job; [Set.Check] compares
// what was presented with all of them, each in constant time.
//
// A job is opened by its own tokens and by those of the folders above it. The
// caller puts them into one list, the job's own first, then outward, and says
// in [Token.Level] how far out each stands. Two levels may use the same name
// or the same secret: the nearest token that has not expired answers.
//
// What will bite you: a digest is a plain SHA-256 without a salt, so that it
// can be made with any tool. It hides a random token for good, and a word from
// a dictionary for about a second.
package token
