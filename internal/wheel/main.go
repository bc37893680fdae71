// Command wheel answers: how does pip install a program that is not Python?
//
//	wheel v1.2.3 dist
//
// writes, beside each released binary dist/aml-train-OS-ARCH, a wheel with it in it. The
// format is that of packaging.python.org, "Binary distribution format"; the same binary
// makes the same wheel.
package main

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: wheel VERSION FOLDER, such as: wheel v1.2.3 dist")
		os.Exit(2)
	}
	names, err := build(os.Args[1], os.Args[2], ".")
	for _, name := range names {
		fmt.Println(name)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "wheel:", err)
		os.Exit(1)
	}
}

// platforms are the systems that a binary runs on, in the words of pip. A binary without C
// runs with every libc, from the oldest that has a tag for the architecture; of macOS, Go
// 1.26 wants 12 (go.dev/doc/go1.26, "Darwin").
var platforms = map[string][]string{
	"linux-amd64":       {"manylinux_2_17_x86_64", "manylinux2014_x86_64", "musllinux_1_1_x86_64"},
	"linux-arm64":       {"manylinux_2_17_aarch64", "manylinux2014_aarch64", "musllinux_1_1_aarch64"},
	"darwin-amd64":      {"macosx_12_0_x86_64"},
	"darwin-arm64":      {"macosx_12_0_arm64"},
	"windows-amd64.exe": {"win_amd64"},
	"windows-arm64.exe": {"win_arm64"},
}

var releaseTag = regexp.MustCompile(`^v(\d+\.\d+\.\d+)$`)

// build makes a wheel of each binary in a folder, and returns their names. The description
// and the license are those of the repository.
func build(tag, dist, repository string) (names []string, err error) {
	version := releaseTag.FindStringSubmatch(tag)
	if version == nil {
		return nil, fmt.Errorf("%q is no version such as v1.2.3", tag)
	}
	readme, err := os.ReadFile(filepath.Join(repository, "README.md"))
	if err != nil {
		return nil, err
	}
	license, err := os.ReadFile(filepath.Join(repository, "LICENSE"))
	if err != nil {
		return nil, err
	}
	binaries, err := filepath.Glob(filepath.Join(dist, "aml-train-*"))
	if err == nil && len(binaries) == 0 {
		err = errors.New("no binary aml-train-OS-ARCH in " + dist)
	}
	if err != nil {
		return nil, err
	}
	for _, file := range binaries {
		platform := platforms[strings.TrimPrefix(filepath.Base(file), "aml-train-")]
		if platform == nil {
			return names, fmt.Errorf("%s: pip knows no such system", file)
		}
		binary, err := os.ReadFile(file)
		if err != nil {
			return names, err
		}
		w := newWheel(version[1], platform, filepath.Ext(file))
		w.metadata(tag, string(readme), license)
		w.add(w.data+"/scripts/aml-train"+w.end, binary, 0o755)
		text, err := w.close()
		if err == nil {
			err = os.WriteFile(filepath.Join(dist, w.name), text, 0o644)
		}
		if err != nil {
			return names, fmt.Errorf("%s: %w", w.name, err)
		}
		names = append(names, w.name)
	}
	return names, nil
}

// wheel is one that is written.
type wheel struct {
	name, version string
	info, data    string // folders in it
	end           string // of the program's name
	tags          []string

	text   bytes.Buffer
	zip    *zip.Writer
	record strings.Builder
	err    error // the first
}

func newWheel(version string, platform []string, end string) *wheel {
	w := &wheel{version: version, end: end, info: "aml_train-" + version + ".dist-info",
		data: "aml_train-" + version + ".data",
		name: "aml_train-" + version + "-py3-none-" + strings.Join(platform, ".") + ".whl"}
	for _, p := range platform {
		w.tags = append(w.tags, "Tag: py3-none-"+p)
	}
	slices.Sort(w.tags)
	w.zip = zip.NewWriter(&w.text)
	return w
}

// link is a relative link of the README.
var link = regexp.MustCompile(`\]\(([^):#]+)\)`)

// metadata adds what pip and the package's page on an index show (packaging.python.org,
// "Core metadata specifications").
func (w *wheel) metadata(tag, readme string, license []byte) {
	const home = "https://github.com/org/aml-train"
	readme = link.ReplaceAllStringFunc(readme, func(found string) string {
		kind := "/blob/"
		if strings.HasSuffix(found, ".png)") {
			kind = "/raw/"
		}
		return "](" + home + kind + tag + "/" + found[2:]
	})
	w.add(w.info+"/METADATA", []byte(strings.Join([]string{
		"Metadata-Version: 2.4",
		"Name: aml-train",
		"Version: " + w.version,
		"Summary: Train models from git: on this machine, or in Azure Machine Learning",
		"License-Expression: MIT",
		"License-File: LICENSE",
		"Project-URL: Source, " + home,
		"Project-URL: Changes, " + home + "/blob/" + tag + "/CHANGELOG.md",
		"Requires-Python: >=3.7",
		"Description-Content-Type: text/markdown",
		"", readme}, "\n")), 0o644)
	w.add(w.info+"/WHEEL", []byte("Wheel-Version: 1.0\nGenerator: aml-train "+w.version+"\nRoot-Is-Purelib: false\n"+
		strings.Join(w.tags, "\n")+"\n"), 0o644)
	w.add(w.info+"/licenses/LICENSE", license, 0o644)
}

// add writes a file and notes its hash.
func (w *wheel) add(name string, text []byte, mode fs.FileMode) {
	sum := sha256.Sum256(text)
	fmt.Fprintf(&w.record, "%s,sha256=%s,%d\n", name, base64.RawURLEncoding.EncodeToString(sum[:]), len(text))
	w.write(name, text, mode)
}

func (w *wheel) write(name string, text []byte, mode fs.FileMode) {
	// The oldest time that a zip file knows: nothing of now or here is in a wheel.
	header := &zip.FileHeader{Name: name, Method: zip.Deflate, Modified: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)}
	header.SetMode(mode)
	to, err := w.zip.CreateHeader(header)
	if err == nil {
		_, err = to.Write(text)
	}
	w.err = errors.Join(w.err, err)
}

// close writes the list of files, which is the last, and returns the wheel.
func (w *wheel) close() ([]byte, error) {
	w.record.WriteString(w.info + "/RECORD,,\n")
	w.write(w.info+"/RECORD", []byte(w.record.String()), 0o644)
	w.err = errors.Join(w.err, w.zip.Close())
	return w.text.Bytes(), w.err
}
