// Package token recognizes the secrets that open jobs, and never shows one.
//
// A [Secret] is what a caller presented. It keeps only a digest, and prints as
// [redacted] everywhere. A [Token] is the configuration of one secret: its name,
// [Digest], expiry date and grants. A [Set] holds the tokens that open one job;
// [Set.Check] compares a presented secret with all of them, each in constant time.
//
// The tokens of a job and of the folders above it open the job. The caller passes
// them in one list, those of the job first, then outwards, with the distance in
// [Token.Level]. Two levels can use the same name or the same secret: the nearest
// token that has not expired counts.
//
// A digest is a plain SHA-256 sum without a salt, so that any tool can compute
// it. It protects a random token, but not a word from a dictionary.
package token
