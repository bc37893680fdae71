package job

import "strings"

// named reads a mapping of names that the command knows.
func (r *runConfig) named(what string, read func(name, what string, v *value)) field {
	return func(v *value) {
		if v.kind != mapping {
			r.report(v.line, v.column, "%s is %s; it has to be a mapping of names", what, v.kind)
			return
		}
		for _, k := range v.keys {
			if !inputName.MatchString(k.name) {
				r.report(k.line, k.column, "the name %q in %s can hold letters, digits and _ only, and not start "+
					"with a digit", k.name, what)
				continue
			}
			read(k.name, what+"."+k.name, k.value)
		}
	}
}

// datastorePath is a path of a datastore.
func datastorePath(store, at string) string {
	return "azureml://datastores/" + store + "/paths/" + strings.TrimPrefix(at, "/")
}

// mode is how data reaches the job, in the words of a job file.
func mode(mechanism string) string {
	return map[string]string{"mount": "ro_mount", "download": "download",
		"direct": "direct"}[strings.ToLower(mechanism)]
}

func (r *runConfig) input(name string, in Input, words ...string) {
	if r.job.Inputs == nil {
		r.job.Inputs = map[string]Input{}
	}
	r.job.Inputs[name] = in
	for _, word := range words {
		r.expressions[word] = "${{inputs." + name + "}}"
	}
}

func (r *runConfig) dataReference(name, what string, v *value) {
	store, at, how, on := "workspaceblobstore", "", "", ""
	r.section(v, what, map[string]field{
		"datastorename": r.str(what+".dataStoreName", &store), "pathondatastore": r.str(what+".pathOnDataStore", &at),
		"mode": r.str(what+".mode", &how), "pathoncompute": r.str(what+".pathOnCompute", &on),
		"overwrite": r.replaced(what+".overwrite", "data that is read is never written over", "false"),
	})
	if strings.EqualFold(how, "upload") {
		r.output(name, Output{Type: URIFolder, Path: datastorePath(store, at), Mode: "upload"},
			"$AZUREML_DATAREFERENCE_"+name)
		return
	}
	r.input(name, Input{Type: URIFolder, Path: datastorePath(store, at), Mode: mode(how), OnCompute: on},
		"$AZUREML_DATAREFERENCE_"+name)
}

// location is where data lies: a dataset, a path of a datastore, or an address.
func (r *runConfig) location(what string, v *value) (path string, file bool) {
	var id, name, version, store, at string
	r.section(v, what, map[string]field{
		"dataset": func(v *value) {
			r.section(v, what+".dataset", map[string]field{
				"id": r.str(what+".dataset.id", &id), "name": r.str(what+".dataset.name", &name),
				"version": r.str(what+".dataset.version", &version),
			})
			switch {
			case name != "" && version != "" && version != "latest":
				path = "azureml:" + name + ":" + version
			case name != "":
				path = "azureml:" + name + "@latest"
			default:
				r.report(v.line, v.column, "%s.dataset names its data by an id (%s) alone; name the data asset that "+
					"it is: name and version", what, id)
			}
		},
		"datapath": func(v *value) {
			r.section(v, what+".dataPath", map[string]field{
				"datastorename": r.str(what+".dataPath.datastoreName", &store),
				"relativepath":  r.str(what+".dataPath.relativePath", &at),
			})
			path = datastorePath(store, at)
		},
		"uri": func(v *value) {
			r.section(v, what+".uri", map[string]field{
				"path": r.str(what+".uri.path", &path), "isfile": r.flag(what+".uri.isFile", &file),
			})
		},
		"assetid": func(v *value) { r.text(v, what+".assetId", &path) },
	})
	return path, file
}

func (r *runConfig) data(name, what string, v *value) {
	in := Input{Type: URIFolder}
	r.section(v, what, map[string]field{
		"datalocation": func(v *value) {
			file := false
			if in.Path, file = r.location(what+".dataLocation", v); file {
				in.Type = URIFile
			}
		},
		"mechanism":               func(v *value) { in.Mode = mode(v.literal()) },
		"environmentvariablename": func(v *value) { r.variable(v, name) },
		"pathoncompute":           r.str(what+".pathOnCompute", &in.OnCompute),
		"createoutputdirectories": r.replaced(what+".createOutputDirectories", "an input is not written to", "false"),
		"overwrite":               r.replaced(what+".overwrite", "an input is not written to", "false"),
		"options":                 r.replaced(what+".options", "mode of an input replaces it"),
	})
	if in.Path == "" {
		r.report(v.line, v.column, "%s says not where its data is", what)
		return
	}
	r.input(name, in, "DatasetConsumptionConfig:"+name, "$AZUREML_DATAREFERENCE_"+name)
}

// variable answers the environment variable in which a script found a path.
func (r *runConfig) variable(v *value, name string) {
	if variable := v.literal(); variable != name {
		r.expressions["$"+variable] = "${{inputs." + name + "}}"
		r.warn(v, "the environment variable %s is not set; the command gets the path as ${{inputs.%s}}", variable, name)
	}
}

func (r *runConfig) output(name string, out Output, words ...string) {
	if r.job.Outputs == nil {
		r.job.Outputs = map[string]Output{}
	}
	r.job.Outputs[name] = out
	for _, word := range words {
		r.expressions[word] = "${{outputs." + name + "}}"
	}
}

func (r *runConfig) outputData(name, what string, v *value) {
	out := Output{Type: URIFolder}
	r.section(v, what, map[string]field{
		"outputlocation": func(v *value) { out.Path, _ = r.location(what+".outputLocation", v) },
		"mechanism": func(v *value) {
			out.Mode = map[string]string{"mount": "rw_mount", "upload": "upload"}[strings.ToLower(v.literal())]
		},
		"environmentvariablename": nil, // the same as its name
		"additionaloptions": func(v *value) {
			r.section(v, what+".additionalOptions", map[string]field{
				"registrationoptions": func(v *value) {
					r.section(v, what+".additionalOptions.registrationOptions", map[string]field{
						"name": r.str(what+".registrationOptions.name", &out.Name),
						"description": r.replaced(what+".registrationOptions.description",
							"describe the asset in the studio"),
						"tags":       r.replaced(what+".registrationOptions.tags", "tag the asset in the studio"),
						"properties": nil, "datasetregistrationoptions": r.replaced(what+".datasetRegistrationOptions",
							"an mltable output replaces it"),
					})
				},
				"pathoncompute": r.replaced(what+".pathOnCompute",
					"the command gets the folder as ${{outputs."+name+"}}"),
				"uploadoptions": r.whenSet(what+".uploadOptions", "all of the folder is kept",
					map[string]string{"overwrite": "false"}),
				"mountoptions": r.whenSet(what+".mountOptions", "mode of an output replaces it",
					map[string]string{"disableMetadataCache": "false"}),
			})
		},
	})
	r.output(name, out, "DatasetOutputConfig:"+name)
}
