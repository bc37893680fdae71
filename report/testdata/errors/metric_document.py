# want: azureml._restclient.exceptions.ServiceException: ServiceException:
# says: at most 250 values
ServiceException = type("ServiceException", (Exception,), {"__module__": "azureml._restclient.exceptions"})
raise ServiceException("ServiceException:\n\tCode: 400\n\tMessage: (ValidationError) Metric Document is too large, 3650b is larger than the max metric size 3000b.")  # here
