// Package policy has no code, only tests of the rules that the tree keeps and that no linter knows: every package says what it
// does, files stay small, modules are used as published, and documents name only metrics, files and tests that exist.
package policy
