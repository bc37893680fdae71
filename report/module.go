package report

import (
	"fmt"
	"path"
	"strings"

	"github.com/org/aml-train/internal/imports"
)

// missingModule says what brings a module that could not be imported.
func (d *Diagnosis) missingModule(module string, c Context) {
	says := fmt.Sprintf("%simports `%s`", d.place(), module)
	if why := imports.Standard(module); why != "" {
		d.Advice = fmt.Sprintf("%s, which %s.", says, why)
		return
	}
	// Never a name of one's own to pip: a stranger may have published one that is called so.
	if c.Repo != nil {
		if m, ok := c.Repo.Find(module); ok {
			d.Advice = says + c.ownModule(module, m)
			return
		}
	}
	top, rest, dotted := strings.Cut(module, ".")
	pkg := imports.Package(module)
	if dotted && pkg == imports.Package(top) { // Python has found what the name begins with
		d.Advice = fmt.Sprintf("%s, and the `%s` that is installed has no `%s`: look which version "+
			"of it has.", says, top, rest)
		return
	}
	if pkg == "" && c.Repo != nil {
		if near := c.Repo.Near(top); near != "" {
			d.Advice = fmt.Sprintf("%s, which the environment does not have; did you mean `%s`, which is "+
				"your own?", says, near)
			return
		}
	}
	if pkg == "" {
		pkg = module
	}
	d.Advice = says + ", which the environment does not have."
	if c.Install != nil {
		d.Advice += " " + c.Install(pkg)
	}
}

// ownModule says what keeps Python from a module that the repository holds.
func (c *Context) ownModule(module string, m imports.Module) string {
	source := c.Repo.Source
	at, root := imports.Relative(source, m.Path), imports.Relative(source, m.Root)
	top, _, _ := strings.Cut(module, ".")
	switch {
	case strings.HasPrefix(root, ".."):
		wide := source
		for !strings.HasPrefix(m.Root+"/", wide+"/") && wide != "." {
			wide = path.Dir(wide)
		}
		folder := folderName(wide)
		return fmt.Sprintf(", which is your own and lies in `%s`, outside the source directory: widen "+
			"`code` to %s, so that it travels, and set `PYTHONPATH=%s` (`environment_variables`).",
			at, folder, imports.Relative(wide, m.Root))
	case m.Missing != "":
		own := fmt.Sprintf("; `%s` is your own and lies in `%s`, which has no `%s`", top, at, path.Base(m.Missing))
		if m.Near != "" {
			before := module[:len(module)-len(path.Base(m.Missing))]
			if i := strings.Index(module, "."+path.Base(m.Missing)); i > 0 {
				before = module[:i+1]
			}
			return own + fmt.Sprintf("; did you mean `%s%s`?", before, m.Near)
		}
		return own + "."
	case c.why(at) != "":
		return fmt.Sprintf(", which is your own: `%s` did not travel, because of %s.", at, c.why(at))
	case m.Name != module && strings.HasSuffix(m.Name, "."+module):
		return fmt.Sprintf(", which is your own and a part of a package, `%s`: import it as `%s`, with "+
			"`PYTHONPATH=%s` if the script does not lie there.", at, m.Name, root)
	case strings.HasSuffix(at, ".so") || strings.HasSuffix(at, ".pyd"):
		return fmt.Sprintf(", which is your own, `%s`: it was built for another Python, or lies where "+
			"this one does not look (`PYTHONPATH=%s`).", at, root)
	case m.Root == path.Join(source, c.Repo.Script) && c.Repo.Script != "":
		return fmt.Sprintf(", which is your own: `%s` is there now, and was not in what trained. Commit "+
			"it, or train the working tree.", at)
	}
	in := "`" + root + "`"
	if root == "." {
		in = "the source directory"
	}
	return fmt.Sprintf(", which is your own and lies in %s, where Python does not look. Set the "+
		"environment variable `PYTHONPATH=%s` (`environment_variables` in the job file).", in, root)
}
