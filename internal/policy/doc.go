// Package policy has no code, only tests of the rules that the tree keeps and that no linter knows: every package says what it
// does, files and functions stay small, modules are used as published.
package policy
