# want: AttributeError: 'RoundTripLoader' object has no attribute 'comment_handling'
# says: `ruamel.yaml>=0.15.35,<0.17.5`
class RoundTripLoader:
    pass

RoundTripLoader().comment_handling  # here
